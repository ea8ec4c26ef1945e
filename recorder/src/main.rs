//! The `sslrec` command.

use std::process::ExitCode;

use sslrec::plan::Task;
use sslrec::stderr::{describe, message};

fn main() -> ExitCode {
    match sslrec::session::run(&Task::from_args()) {
        Ok(code) => code.into(),
        Err(error) => {
            message(describe(&error));
            ExitCode::FAILURE
        }
    }
}
