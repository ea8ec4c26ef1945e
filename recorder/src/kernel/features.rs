//! The features of the running kernel, detected from its own type information rather than its
//! version: distributions backport features.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use libbpf_rs::btf::Btf;
use libbpf_rs::btf::types::{Func, Struct, Typedef};

/// The ways, best first. All of them need Linux 5.15, which introduced the helpers that distinguish
/// a socket operation within a call from other operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sockets {
    /// Tracepoints in each operation (kernel 6.3).
    Tracepoints,
    /// Trampolines at the ends of kernel functions (needs function tracing).
    Fentry,
    /// Probes at their beginnings, and TCP's tracepoint for received bytes.
    Kprobe,
    /// That tracepoint alone. It is used within TLS calls only.
    RcvSpace,
    /// No way.
    Unseen,
}

/// The source of addresses, besides descriptors.
impl fmt::Display for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tracepoints => "socket tracepoints (kernel 6.3)",
            Self::Fentry => "trampolines in socket functions (fentry)",
            Self::Kprobe => "kprobes in socket functions",
            Self::RcvSpace => "TCP's receive tracepoint",
            Self::Unseen => "descriptors given to the library only",
        })
    }
}

/// A feature that not every kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelFeature {
    /// One link for many uprobes: kernel 6.6.
    Multi,
    /// Attach cookies: kernel 5.15.
    Cookie,
    /// Raw tracepoints `sock_send_length` and `sock_recv_length`: kernel 6.3.
    SockLength,
    /// Trampolines at kernel functions.
    Fentry,
    /// Probes in kernel functions.
    Kprobe,
    /// Raw tracepoint `tcp_rcv_space_adjust`: kernel 4.15.
    RcvSpace,
    /// Walking a process's mappings in the kernel: kernel 6.7.
    TaskVma,
    /// Probes within functions rather than at their first instruction and their return. Not a
    /// feature, but like one that is absent wherever the code cannot be read.
    Placement,
}

impl KernelFeature {
    const NAMES: [(&'static str, Self); 8] = [
        ("multi", Self::Multi),
        ("cookie", Self::Cookie),
        ("sock-length", Self::SockLength),
        ("fentry", Self::Fentry),
        ("kprobe", Self::Kprobe),
        ("rcv-space", Self::RcvSpace),
        ("task-vma", Self::TaskVma),
        ("placement", Self::Placement),
    ];
}

impl FromStr for KernelFeature {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::NAMES.iter().find(|(name, _)| *name == text);
        known.map(|(_, feature)| *feature).ok_or_else(|| {
            let names = Self::NAMES.map(|(name, _)| name).join(", ");
            format!("unknown feature `{text}`; known: {names}")
        })
    }
}

/// Kernel features that the recorder uses if present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// One link attaches many uprobes (6.6).
    pub(crate) multi: bool,
    /// A probe can carry a cookie (5.15).
    pub(crate) cookie: bool,
    /// Raw tracepoints report the socket that a call used (6.3).
    pub(crate) sock_length: bool,
    /// The other ways to see socket operations that may be tried.
    sockets: SocketsToTry,
    /// The kernel side can walk a process's mappings (6.7), and so stop a process before it uses a
    /// file that has not been inspected.
    pub(crate) task_vma: bool,
    /// Probes may be within functions; see `placement`.
    pub(crate) placement: bool,
}

/// The flags of [`Sockets`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SocketsToTry {
    fentry: bool,
    kprobe: bool,
    rcv_space: bool,
}

impl Kernel {
    /// Queries the kernel. Features in `without` are treated as absent.
    ///
    /// # Errors
    /// There is no type information: the programs cannot be adapted to this kernel.
    pub(crate) fn probe(without: &[KernelFeature]) -> Result<Self> {
        if !Path::new("/sys/kernel/btf/vmlinux").exists() {
            bail!(
                "this kernel has no BTF (/sys/kernel/btf/vmlinux); \
                 use one built with CONFIG_DEBUG_INFO_BTF, as distributions' are since 2020"
            );
        }
        let btf = Btf::from_vmlinux().context("cannot read /sys/kernel/btf/vmlinux")?;
        let has_struct = |name| btf.type_by_name::<Struct<'_>>(name).is_some();
        let has_typedef = |name| btf.type_by_name::<Typedef<'_>>(name).is_some();
        let wanted = |feature| !without.contains(&feature);
        let cookie = wanted(KernelFeature::Cookie) && has_struct("bpf_perf_link");
        Ok(Self {
            // Multi links distinguish their sites by cookie only.
            multi: cookie && wanted(KernelFeature::Multi) && has_struct("bpf_uprobe_multi_link"),
            cookie,
            // Without cookies a site is identified by its code; two sites of a function are too
            // close for that.
            placement: cookie && wanted(KernelFeature::Placement),
            task_vma: wanted(KernelFeature::TaskVma)
                && btf.type_by_name::<Func<'_>>("bpf_iter_task_vma_new").is_some(),
            sock_length: wanted(KernelFeature::SockLength)
                && has_typedef("btf_trace_sock_send_length")
                && has_typedef("btf_trace_sock_recv_length"),
            sockets: SocketsToTry {
                fentry: wanted(KernelFeature::Fentry),
                kprobe: wanted(KernelFeature::Kprobe),
                rcv_space: wanted(KernelFeature::RcvSpace),
            },
        })
    }

    /// Returns whether this way may be tried. Only a trial shows whether the kernel has it.
    pub(crate) fn may_have(self, sockets: Sockets) -> bool {
        let SocketsToTry { fentry, kprobe, rcv_space } = self.sockets;
        match sockets {
            Sockets::Tracepoints => self.sock_length,
            Sockets::Fentry => fentry,
            Sockets::Kprobe => kprobe && rcv_space,
            Sockets::RcvSpace => rcv_space,
            Sockets::Unseen => true,
        }
    }

    /// Returns one line for `-v`.
    pub(crate) fn describe(self) -> String {
        format!(
            "uprobes by {}, sites by {}",
            if self.multi { "one link per file" } else { "single links" },
            if self.cookie { "cookie" } else { "their code" },
        )
    }
}
