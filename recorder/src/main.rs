//! The `sslrec` command.

use std::process::ExitCode;

use clap::Parser;
use sslrec::cli::Options;

fn main() -> ExitCode {
    match sslrec::session::run(&Options::parse()) {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("sslrec: {error:#}");
            ExitCode::FAILURE
        }
    }
}
