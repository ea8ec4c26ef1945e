//! Confines the self-test's child: it can do almost nothing but compute, read world-readable files,
//! and communicate with the recorder.
//!
//! Enter it before the library is loaded. Each layer would suffice by itself: separate namespaces
//! for processes, network, mounts and the rest, where the kernel and the user permit them; the user
//! `nobody`, where that can be chosen; no capabilities; limits on memory, processor time, processes
//! and files; and a list of system calls, none of which starts a process, creates a socket, opens a
//! file for writing, reaches another process or accesses a terminal. The last two are mandatory:
//! without them nothing is loaded.

use std::io;

use anyhow::{Context, Result};
use rustix::process::{
    DumpableBehavior, Gid, Pid, Resource, Rlimit, Signal, Uid, geteuid, getpid,
    set_dumpable_behavior, set_parent_process_death_signal, setrlimit, setsid,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, UnshareFlags, set_capabilities, set_no_new_privs,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid, unshare_unsafe,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

/// Keeps OpenSSL from loading files that its configuration names, or that are in its compiled-in
/// folders.
pub(super) const ENVIRONMENT: [(&str, &str); 3] = [
    ("OPENSSL_CONF", "/dev/null"),
    ("OPENSSL_ENGINES", "/nonexistent"),
    ("OPENSSL_MODULES", "/nonexistent"),
];

/// User and group, where they can be chosen: those of `nobody`.
const NOBODY: u32 = 65534;

/// Memory for the library, including all mappings of this program.
const ADDRESS_SPACE: u64 = 1 << 30;

/// Seconds of processor time.
const CPU_SECONDS: u64 = 3;

/// Descriptors: three to begin with, and the files that the loader opens one after another.
const FILES_MAX: u64 = 16;

/// Begins a session and enters the available namespaces. Returns in the process that is to load the
/// library, with its number as seen by the recorder. That is this process or, with a new namespace
/// of processes, its child, for which this process waits.
pub(super) fn enter() -> Result<Confined> {
    die_with_parent()?;
    setsid().context("cannot begin a session")?;
    // SAFETY: this process has one thread and nothing open but its standard streams.
    unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
    let pid_namespace = enter_namespaces();
    become_nobody().context("cannot become nobody")?;
    if !pid_namespace {
        return Ok(Confined { announce: Some(getpid()) });
    }
    // SAFETY: this process has one thread.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()).context("cannot start the child"),
        0 => {
            die_with_parent()?;
            Ok(Confined { announce: None })
        }
        child => wait_for(child),
    }
}

/// A confined process, except for the permissions that [`Confined::close`] removes.
#[derive(Debug)]
pub(super) struct Confined {
    announce: Option<Pid>,
}

impl Confined {
    /// Returns the line that reports the process's number to the recorder, unless the recorder has
    /// it already.
    pub(super) fn announcement(&self) -> Option<String> {
        self.announce.map(pid_line)
    }

    /// Drops all permissions that the library's code must not have. This cannot be undone.
    pub(super) fn close(self) -> Result<()> {
        limit().context("cannot set limits")?;
        let none = CapabilitySet::empty();
        let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
        set_capabilities(None, none).context("cannot give up capabilities")?;
        set_no_new_privs(true).context("cannot forbid new privileges")?;
        apply_filter(&filter()?).context("cannot restrict system calls")
    }
}

fn pid_line(pid: Pid) -> String {
    format!("pid {}\n", pid.as_raw_nonzero())
}

/// Reports the peer's process to the recorder, and ends with the peer's status.
fn wait_for(child: libc::pid_t) -> ! {
    let line = Pid::from_raw(child).map(pid_line).unwrap_or_default();
    // SAFETY: standard output is the recorder's socket, and the line has this length. If the
    // recorder has ended, so will the child soon.
    unsafe { libc::write(libc::STDOUT_FILENO, line.as_ptr().cast(), line.len()) };
    let mut status = 0;
    // SAFETY: `status` is local to this function; both calls affect only this process and its
    // child.
    unsafe {
        libc::close(libc::STDOUT_FILENO);
        while libc::waitpid(child, &raw mut status, 0) == -1
            && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
        {}
        libc::_exit(i32::from(status != 0))
    }
}

fn die_with_parent() -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .context("cannot bind this process to its parent")
}

/// Enters new namespaces of every available kind, and returns whether the next child begins a
/// namespace of processes. Without them the other layers hold.
fn enter_namespaces() -> bool {
    let kinds = UnshareFlags::NEWNET
        | UnshareFlags::NEWNS
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS
        | UnshareFlags::NEWCGROUP;
    let pid = UnshareFlags::NEWPID;
    if !geteuid().is_root() {
        // All others first need a namespace of users, in which this process has all privileges.
        return unshare(UnshareFlags::NEWUSER | kinds | pid);
    }
    for kind in kinds.iter() {
        unshare(kind);
    }
    unshare(pid)
}

fn unshare(kinds: UnshareFlags) -> bool {
    // SAFETY: this process has one thread, and no descriptors that others share.
    unsafe { unshare_unsafe(kinds) }.is_ok()
}

/// Changes root to a user without any files, in a namespace where no user owns anything.
fn become_nobody() -> io::Result<()> {
    if geteuid().is_root() {
        let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        set_thread_groups(&[])?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
        unshare(UnshareFlags::NEWUSER);
    }
    // Both changes of identity have cleared these.
    set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
}

fn limit() -> io::Result<()> {
    for (resource, most) in [
        (Resource::As, ADDRESS_SPACE),
        (Resource::Core, 0),
        (Resource::Cpu, CPU_SECONDS),
        (Resource::Fsize, 0),
        (Resource::Memlock, 0),
        (Resource::Msgqueue, 0),
        (Resource::Nofile, FILES_MAX),
        (Resource::Nproc, 0),
    ] {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    Ok(())
}

/// System calls that are allowed with any arguments: those with which a program computes, reads
/// open files, and ends.
const ALLOWED: [i64; 51] = [
    libc::SYS_access,
    libc::SYS_arch_prctl,
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_getcwd,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_newfstatat,
    libc::SYS_pread64,
    libc::SYS_read,
    libc::SYS_readlink,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sendto,
    libc::SYS_set_tid_address,
    libc::SYS_sigaltstack,
    libc::SYS_stat,
    libc::SYS_statx,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    // Only the socket is open for writing, and no file can be opened for writing.
    libc::SYS_write,
    libc::SYS_writev,
];

/// More harmless system calls, for which libc has no name: return probes (Linux 6.11) and probes on
/// `nop5` (6.18) return from the kernel through them. The probes make these calls, not the program.
const PROBES: [i64; 2] = [335, 336];

/// Returns the filter; every other system call fails with EPERM.
fn filter() -> Result<BpfProgram> {
    let everything = ALLOWED.into_iter().chain(PROBES).map(|call| (call, Vec::new()));
    let only_reading = |argument| rule(argument, SeccompCmpOp::MaskedEq(OPEN_TO_CHANGE), 0);
    let some =
        [(libc::SYS_open, vec![only_reading(1)?]), (libc::SYS_openat, vec![only_reading(2)?])];
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let arch = std::env::consts::ARCH.try_into().context("this machine architecture is unknown")?;
    let filter =
        SeccompFilter::new(everything.chain(some).collect(), refuse, SeccompAction::Allow, arch);
    filter.and_then(BpfProgram::try_from).context("cannot make a list of system calls")
}

/// Flags of open(2) that create or write a file.
const OPEN_TO_CHANGE: u64 = (libc::O_ACCMODE
    | libc::O_CREAT
    | libc::O_TRUNC
    | libc::O_APPEND
    | (libc::O_TMPFILE & !libc::O_DIRECTORY)) as u64;

fn rule(argument: u8, is: SeccompCmpOp, value: u64) -> Result<SeccompRule> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, is, value);
    let rule = condition.and_then(|condition| SeccompRule::new(vec![condition]));
    rule.context("cannot make a rule for system calls")
}
