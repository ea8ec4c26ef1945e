//! Child mode: a command that is stopped before its first instruction until the probes are
//! attached.
//!
//! The child is forked at once, so that its number is known and its own children will be seen. It
//! waits on a pipe between fork and exec. If the recorder dies meanwhile the pipe closes and the
//! child ends: it never hangs.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;

use anyhow::{Context, Result, anyhow, bail};

use crate::process::signaller::Signaller;

/// A command that waits for [`Child::start`].
pub(crate) struct Child {
    /// Its process id.
    pub(crate) pid: u32,
    name: String,
    signaller: Signaller,
    go: io::PipeWriter,
    /// Receives a byte when the child continues; the end of file, if the child has ended.
    answer: io::PipeReader,
    executed: Receiver<io::Result<()>>,
    ended: Receiver<io::Result<ExitStatus>>,
    /// Its exit status, once known.
    status: Cell<Option<ExitStatus>>,
}

impl Child {
    /// Forks the child and leaves it waiting. `caught` are the signals that the recorder handles,
    /// and the child must not. `keep_stdout` is for a recorder that writes to standard output
    /// itself.
    pub(crate) fn hold(
        words: &[String],
        caught: &[i32],
        keep_stdout: bool,
        signaller: Signaller,
    ) -> Result<Self> {
        let (name, args) = words.split_first().context("no command given")?;
        let (mut answer, answer_writer) = io::pipe().context("cannot make a pipe")?;
        let (go_reader, go) = io::pipe().context("cannot make a pipe")?;
        let mut command = Command::new(name);
        command.args(args);
        if keep_stdout {
            let stderr = io::stderr().as_fd().try_clone_to_owned().context("cannot use stderr")?;
            command.stdout(Stdio::from(stderr));
        }
        wait_before_exec(&mut command, answer_writer, go_reader, go.as_raw_fd(), caught);
        let (executed, ended) = spawn(command)?;
        let mut pid = [0; 4];
        if answer.read_exact(&mut pid).is_err() {
            executed.recv()?.with_context(|| format!("cannot run {name}"))?;
            bail!("cannot run {name}: the new process ended at once");
        }
        let pid = u32::from_ne_bytes(pid);
        let name = name.clone();
        Ok(Self { pid, name, signaller, go, answer, executed, ended, status: Cell::new(None) })
    }

    /// Lets it run, and returns when it does. Returns its end if a signal was faster.
    ///
    /// # Errors
    /// It could not be executed.
    pub(crate) fn start(&mut self) -> Result<Option<ExitStatus>> {
        // Fails if a signal ended it, which the missing answer also shows.
        let _ = self.go.write_all(&[1]);
        let went = self.answer.read_exact(&mut [0]).is_ok();
        self.executed.recv()?.with_context(|| format!("cannot run {}", self.name))?;
        Ok(if went { None } else { Some(self.ended.recv()??) })
    }

    /// Returns its exit status, if it has ended.
    ///
    /// # Errors
    /// The kernel does not return the status.
    pub(crate) fn try_wait(&self) -> Result<Option<ExitStatus>> {
        if self.status.get().is_none() {
            match self.ended.try_recv() {
                Ok(status) => self.status.set(Some(status.context("cannot wait for the command")?)),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => {
                    return Err(anyhow!("lost track of the command"));
                }
            }
        }
        Ok(self.status.get())
    }

    /// Passes a signal on. The child may have ended, which is not an error: it is reaped only by
    /// the recorder's own thread, and in the short time after that its number is not yet reused for
    /// another process.
    pub(crate) fn signal(&self, signal: i32) {
        self.signaller.signal(self.pid, signal);
    }
}

/// Makes the child report its number, wait for a byte and answer it before its exec.
fn wait_before_exec(
    command: &mut Command,
    mut answer_writer: io::PipeWriter,
    mut go_reader: io::PipeReader,
    go_fd: RawFd,
    caught: &[i32],
) {
    let caught = caught.to_vec();
    // SAFETY: between fork and exec only signal(2), write(2), read(2) and close(2) are called,
    // which are async-signal-safe, and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            // Until exec the recorder's handlers are the child's too, and would swallow a Ctrl-C.
            for &signal in &caught {
                libc::signal(signal, libc::SIG_DFL);
            }
            // The child's copy of the writing end would keep the pipe open when the recorder
            // dies.
            libc::close(go_fd);
            answer_writer.write_all(&std::process::id().to_ne_bytes())?;
            go_reader.read_exact(&mut [0])?;
            answer_writer.write_all(&[1])
        });
    }
}

type Ends = (Receiver<io::Result<()>>, Receiver<io::Result<ExitStatus>>);

/// Starts the command on a thread, since that blocks until the exec. Reports whether the exec
/// succeeded, and then the exit status.
fn spawn(mut command: Command) -> Result<Ends> {
    let (tell_executed, executed) = mpsc::channel();
    let (tell_ended, ended) = mpsc::channel();
    let run = move || {
        let child = command.spawn();
        // Closes the recorder's ends of its pipes.
        drop(command);
        // A receiver is gone only when the recorder itself is ending.
        let _ = match child {
            Err(error) => tell_executed.send(Err(error)).is_ok(),
            Ok(mut child) => {
                tell_executed.send(Ok(())).is_ok() && tell_ended.send(child.wait()).is_ok()
            }
        };
    };
    thread::Builder::new().name("child".into()).spawn(run).context("cannot start a thread")?;
    Ok((executed, ended))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit;

    fn hold(words: &[&str]) -> Child {
        let words: Vec<_> = words.iter().map(|&word| word.to_owned()).collect();
        Child::hold(&words, &[libc::SIGINT], false, Signaller::start().unwrap()).unwrap()
    }

    #[test]
    fn a_stopped_child_runs_once_started() {
        let mut child = hold(&["sh", "-c", "exit 7"]);
        assert_eq!(child.try_wait().unwrap(), None);
        assert_eq!(child.start().unwrap(), None);
        let status = child.ended.recv().unwrap().unwrap();
        assert_eq!(exit::of_command(status), 7);
    }

    #[test]
    fn a_signal_ends_a_held_child() {
        let _signals = crate::process::signals::Signals::catch(true).unwrap();
        let mut child = hold(&["true"]);
        child.signal(libc::SIGINT);
        while std::fs::read_to_string(format!("/proc/{}/stat", child.pid))
            .is_ok_and(|stat| !stat.contains(") Z "))
        {
            thread::yield_now();
        }
        assert_eq!(exit::of_command(child.start().unwrap().unwrap()), 130);
    }

    #[test]
    fn a_command_that_cannot_be_executed_is_named() {
        let error = format!("{:#}", hold(&["/no/such/command"]).start().unwrap_err());
        assert!(error.contains("/no/such/command: No such file"), "{error}");
    }
}
