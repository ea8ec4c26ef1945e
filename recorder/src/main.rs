//! The `sslrec` command.

use std::process::ExitCode;

use sslrec::messages::say;
use sslrec::plan::Task;

fn main() -> ExitCode {
    match sslrec::session::run(&Task::from_args()) {
        Ok(code) => code.into(),
        Err(error) => {
            say(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
