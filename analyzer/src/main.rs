//! `sslanalyze`: lists the HTTP exchanges of a capture.

use std::process::ExitCode;

use clap::Parser;
use sslanalyze::cli::Cli;
use sslanalyze::run::{exit_status, report, run};

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::from(exit_status(&error))
        }
    }
}
