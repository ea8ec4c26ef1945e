//! `sslanalyze`: lists the HTTP exchanges of a capture.
//!
//! ```text
//! cli -> run -> files -> sslrec_analyzer -> listing -> output
//!            \-> commands
//! ```
//!
//! `cli` is the command line, `files` opens the captures and reports damage, `listing` passes items
//! to an `output`, and each module of `commands` turns a capture into something else. Parsing is
//! the work of the library.

#![forbid(unsafe_code)]

mod cli;
mod commands;
mod exit;
mod files;
mod flow;
mod hexdump;
mod limits;
mod listing;
mod output;
mod over_http;
mod pretty;
mod progress;
mod run;
mod safe_json;
mod stderr;
mod template;
mod terminal;
mod text;
mod threads;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::run::run;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            stderr::report(&error);
            ExitCode::from(exit::code(&error, cli.is_diff()))
        }
    }
}
