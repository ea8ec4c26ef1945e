//! The exit statuses of `sslrec`. The status of a started command is passed on.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// The recording failed. Clap exits with 2 on bad usage.
pub(crate) const FAILURE: u8 = 1;
/// Bytes are missing, with `--fail-on-loss`.
pub(crate) const LOSS: u8 = 3;
/// Nothing was recorded, with `--fail-if-empty`.
pub(crate) const EMPTY: u8 = 4;
/// TLS was seen and not recorded, with `--fail-on-missed`.
pub(crate) const MISSED: u8 = 5;
/// A signal ended the command; its number is added.
const SIGNAL: i32 = 128;

/// Returns the status with which a shell would report this end of a command.
pub(crate) fn of_command(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| SIGNAL + status.signal().unwrap_or_default());
    u8::try_from(code & 0xff).unwrap_or(FAILURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_a_command_is_that_of_a_shell() {
        assert_eq!(of_command(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(of_command(ExitStatus::from_raw(libc::SIGTERM)), 143);
        assert_eq!(of_command(ExitStatus::from_raw(0)), 0);
    }
}
