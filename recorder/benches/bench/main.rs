//! `make bench`: the cost of recording, measured side by side in the same run.
//!
//! Each section measures its variants in interleaved rounds, so that a change in the machine's
//! speed affects all of them, prints medians and ratios as a table, and writes the same as JSON to
//! `target/bench`. Probes are attached to a private copy of libssl and to test programs: other
//! programs on the machine are left alone. Loss makes a section fail; a slow machine never does.

mod analyzer;
mod command;
mod cost;
mod cpu;
mod empty_pair;
mod files;
mod loss;
mod machine;
mod measure;
mod memory;
mod messages;
mod nginx;
mod programs;
mod recording;
mod report;
mod setup;
mod soak;
mod traffic;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, ValueEnum};

use crate::report::Report;
use crate::setup::Setup;

/// Measure the cost of recording, side by side with programs that are not recorded.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Arguments {
    /// Sections to measure; by default all except the soak
    #[arg(value_enum)]
    sections: Vec<Section>,

    /// A single short round: to test that everything runs, not for figures
    #[arg(long)]
    quick: bool,

    /// Minutes that the soak takes; 1 with --quick
    #[arg(long, default_value_t = 20)]
    minutes: u64,

    /// The argument that cargo passes to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    /// Time per TLS call over a BIO pair
    Cost,
    /// Processor time of the recorder per million calls
    Cpu,
    /// Requests per second of nginx
    Nginx,
    /// Bytes kept of a connection at full speed
    Loss,
    /// Writing and reading of both files
    Files,
    /// Listing, beside tshark
    Analyzer,
    /// Memory of the recorder
    Memory,
    /// Twenty minutes of mixed traffic; only if named
    Soak,
}

impl Section {
    fn run(self, setup: &Setup, minutes: u64) -> Result<Report> {
        match self {
            Self::Cost => cost::run(setup),
            Self::Cpu => cpu::run(setup),
            Self::Nginx => nginx::run(setup),
            Self::Loss => loss::run(setup),
            Self::Files => files::run(),
            Self::Analyzer => analyzer::run(setup),
            Self::Memory => memory::run(setup),
            Self::Soak => soak::run(setup, minutes),
        }
    }

    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether every section was measured and kept all bytes.
fn run(arguments: &Arguments) -> Result<bool> {
    let setup = Setup::new(arguments.quick)?;
    let sections = match &arguments.sections[..] {
        [] => Section::value_variants().iter().filter(|one| **one != Section::Soak).collect(),
        some => some.iter().collect::<Vec<_>>(),
    };
    println!("{}", setup.machine.describe());
    let mut good = true;
    for section in sections {
        let name = section.name();
        match section.run(&setup, arguments.minutes) {
            Ok(report) => {
                report.print();
                report.write_json(&setup, &name)?;
                good &= report.failures.is_empty();
            }
            Err(error) => {
                eprintln!("bench: section {name}: {error:#}");
                good = false;
            }
        }
    }
    println!("as JSON in {}", setup.results.display());
    Ok(good)
}
