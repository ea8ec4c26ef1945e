//! Child mode: a command that is held before its first instruction until the probes are in.
//!
//! The child is forked at once, so that its number is known and its own children will be seen;
//! it waits on a pipe between fork and exec. If the recorder dies meanwhile the pipe closes and
//! the child ends: it never hangs.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;

use anyhow::{Context, Result, anyhow};

/// A command that waits for [`Child::start`].
pub(crate) struct Child {
    /// Its process id.
    pub(crate) pid: u32,
    go: io::PipeWriter,
    /// How it ended, or that it could not be executed.
    ended: Receiver<io::Result<ExitStatus>>,
}

impl Child {
    /// Forks the child and leaves it waiting.
    pub(crate) fn hold(command: &[String]) -> Result<Self> {
        let (name, args) = command.split_first().context("no command given")?;
        let (mut pid_reader, mut pid_writer) = io::pipe().context("cannot make a pipe")?;
        let (mut go_reader, go) = io::pipe().context("cannot make a pipe")?;
        let go_fd = go.as_raw_fd();
        let mut command = Command::new(name);
        command.args(args);
        // SAFETY: between fork and exec only write(2), read(2) and close(2) are called, which
        // are async-signal-safe, and nothing is allocated.
        unsafe {
            command.pre_exec(move || {
                // The child's copy of the writing end would keep the pipe open when the
                // recorder dies.
                libc::close(go_fd);
                pid_writer.write_all(&std::process::id().to_ne_bytes())?;
                let mut start = [0];
                go_reader.read_exact(&mut start)
            });
        }
        let (sender, ended) = mpsc::channel();
        let spawn = move || {
            // Blocks until the child has executed, hence the thread.
            let child = command.spawn();
            drop(command);
            // The receiver is gone only when the recorder itself is ending.
            let _ = sender.send(child.and_then(|mut child| child.wait()));
        };
        thread::Builder::new()
            .name("child".into())
            .spawn(spawn)
            .context("cannot start a thread")?;
        let mut pid = [0; 4];
        pid_reader.read_exact(&mut pid).map_err(|_| match ended.try_recv() {
            Ok(Err(error)) => anyhow!("cannot run {name}: {error}"),
            _ => anyhow!("cannot run {name}: the new process ended at once"),
        })?;
        Ok(Self { pid: u32::from_ne_bytes(pid), go, ended })
    }

    /// Lets it run.
    pub(crate) fn start(&mut self) -> Result<()> {
        self.go.write_all(&[1]).context("the command ended before it began")
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// It could not be executed.
    pub(crate) fn try_wait(&self) -> Result<Option<ExitStatus>> {
        match self.ended.try_recv() {
            Ok(status) => status.map(Some).context("cannot run the command"),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(anyhow!("lost track of the command")),
        }
    }

    /// Passes a signal on. The child may be gone by now, which is no error.
    pub(crate) fn signal(&self, signal: i32) {
        if let Ok(pid) = i32::try_from(self.pid) {
            // SAFETY: kill(2) takes two numbers. The child is reaped only by our own thread; in
            // the short time after that its number is not yet given to another process.
            unsafe { libc::kill(pid, signal) };
        }
    }
}

/// The status with which a shell would report this end.
pub(crate) fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    u8::try_from(code & 0xff).unwrap_or(1)
}
