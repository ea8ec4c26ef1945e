//! The `sslrec` command.

use std::process::ExitCode;

use sslrec::cli::Options;
use sslrec::messages::say;

fn main() -> ExitCode {
    match sslrec::session::run(&Options::from_command_line()) {
        Ok(code) => code.into(),
        Err(error) => {
            say(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
