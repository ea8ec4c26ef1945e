//! Attaches the programs that observe socket operations, in the best way that this kernel offers.
//! They provide the addresses of connections, and show whether a read after a failed handshake may
//! have ended it after all. Each way is tried in turn: type information does not show what a
//! kernel's configuration, or its lockdown, forbids.

use std::ffi::OsStr;

use anyhow::{Context, Result};
use libbpf_rs::skel::Skel;
use libbpf_rs::{Link, ProgramMut};

use crate::attach::probes::Probes;
use crate::kernel::features::Sockets;
use crate::kernel::objects;
use crate::kernel::skel::types::sockets_seen;

/// `bpf/sockets.bpf.c`, compiled.
const IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sockets.bpf.o"));

impl Sockets {
    /// Returns its programs in `bpf/sockets.bpf.c`.
    fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Fentry => &["sent", "sent_6", "received", "received_6"],
            Self::Kprobe => &["sends", "sends_6", "receives", "receives_6", "bytes_given"],
            Self::RcvSpace => &["bytes_given"],
            Self::Tracepoints | Self::Unseen => &[],
        }
    }

    fn seen(self) -> sockets_seen {
        match self {
            Self::Tracepoints | Self::Fentry | Self::Kprobe => sockets_seen::SOCKETS_ALL,
            Self::RcvSpace => sockets_seen::SOCKETS_THAT_RECEIVE,
            Self::Unseen => sockets_seen::SOCKETS_NONE,
        }
    }
}

impl Probes<'_> {
    /// Attaches the programs that observe socket operations, in the best way that the kernel
    /// accepts. `refused` is called with each refused way and the reason.
    ///
    /// # Errors
    /// The kernel refuses a feature that it reported as available.
    pub(crate) fn attach_sockets(
        &mut self,
        refused: impl FnMut(Sockets, anyhow::Error),
    ) -> Result<Sockets> {
        let sockets = if self.kernel.sock_length {
            for program in [&self.skel.progs.sock_send_length, &self.skel.progs.sock_recv_length] {
                self.links.push(attach(program)?);
            }
            Sockets::Tracepoints
        } else {
            self.attach_first_of_older(refused)
        };
        let bss = self.skel.maps.bss_data.as_deref_mut();
        bss.context("the skeleton has no writable data")?.sockets_seen = sockets.seen().0 as u8;
        Ok(sockets)
    }

    fn attach_first_of_older(
        &mut self,
        mut refused: impl FnMut(Sockets, anyhow::Error),
    ) -> Sockets {
        let tried = [Sockets::Fentry, Sockets::Kprobe, Sockets::RcvSpace];
        for sockets in tried.into_iter().filter(|&sockets| self.kernel.may_have(sockets)) {
            match self.links_of(sockets) {
                Ok(links) => {
                    self.links.extend(links);
                    return sockets;
                }
                Err(error) => refused(sockets, error),
            }
        }
        Sockets::Unseen
    }

    /// Returns the links. They keep the programs, so that their object can be dropped.
    fn links_of(&self, sockets: Sockets) -> Result<Vec<Link>> {
        let wanted = |name: &OsStr| sockets.programs().iter().any(|&program| name == program);
        let object = objects::load(IMAGE, self.skel.object(), |program| {
            program.set_autoload(wanted(program.name()));
        })?;
        let programs = object.progs_mut().filter(|program| wanted(program.name()));
        programs.map(|program| attach(&program)).collect()
    }
}

fn attach(program: &ProgramMut<'_>) -> Result<Link> {
    program.attach().with_context(|| format!("cannot attach {}", program.name().display()))
}
