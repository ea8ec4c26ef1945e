//! The `sslrec` command.

use std::process::ExitCode;

use sslrec::messages::{describe, say};
use sslrec::plan::Task;

fn main() -> ExitCode {
    match sslrec::session::run(&Task::from_args()) {
        Ok(code) => code.into(),
        Err(error) => {
            say(describe(&error));
            ExitCode::FAILURE
        }
    }
}
