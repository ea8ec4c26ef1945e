//! The limits of the analysis on the command line.

use anyhow::anyhow;
use clap::Args;
use sslrec_analyzer::budget::{self, Budget};
use sslrec_cli::size::{self, Size};

/// Below this there is no room for what has a constant bound.
const MIN_MEMORY: u64 = 64 << 20;

/// What the analysis of a capture may take.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Limits {
    /// Take no more than about this much memory [default: 512M]
    ///
    /// Longer contents are cut at about 3/8 of it, decoded contents at 3/16, and connections that
    /// are idle for longest are given up if all connections need more than 1/4. A note states each
    /// of these. K, M or G are units of 1024; at least 64M. Example: `--max-memory 4G` for bodies
    /// of up to 1.5 GiB.
    #[arg(long, value_name = "SIZE", default_value = "512M", hide_default_value = true)]
    #[arg(value_parser = memory)]
    max_memory: u64,

    /// Decode no more than this much of all contents together [default: 4G]
    ///
    /// Contents beyond it stay as they were sent, which a note states, and a message on standard
    /// error states the first exchange that is affected. K, M or G are units of 1024. Example:
    /// `--max-decoded 100G`
    #[arg(long, value_name = "SIZE", default_value = "4G", hide_default_value = true)]
    #[arg(value_parser = size::parse)]
    max_decoded: u64,
}

/// The memory that a copy of a capture may take.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Memory {
    /// Take no more than about this much memory [default: 512M]
    ///
    /// If the connections that are open at a time need more, those that are idle for longest end in
    /// OUT, which a message on standard error states. Their later bytes are in OUT as a connection
    /// of its own, of unknown ends. K, M or G are units of 1024; at least 64M. Example:
    /// `--max-memory 4G`
    #[arg(long, value_name = "SIZE", default_value = "512M", hide_default_value = true)]
    #[arg(value_parser = memory)]
    max_memory: u64,
}

impl Memory {
    /// Returns the part for open connections, in bytes. The reassembly of packets takes the rest.
    pub(crate) fn for_connections(self, reassembled: bool) -> usize {
        let sixteenths = if reassembled { 5 } else { 10 };
        usize::try_from(self.max_memory / 16 * sixteenths).unwrap_or(usize::MAX)
    }
}

impl From<Memory> for budget::Limits {
    fn from(memory: Memory) -> Self {
        Self { max_memory: memory.max_memory, ..Self::DEFAULT }
    }
}

impl Limits {
    /// Returns the number of bytes that summaries of captures may take, beside the analysis.
    pub(crate) fn for_summaries(self) -> usize {
        usize::try_from(self.max_memory / 8).unwrap_or(usize::MAX)
    }
}

fn memory(text: &str) -> Result<u64, String> {
    match size::parse(text)? {
        bytes if bytes < MIN_MEMORY => Err(format!("`{text}` is too little; give 64M or more")),
        bytes => Ok(bytes),
    }
}

impl From<Limits> for budget::Limits {
    fn from(limits: Limits) -> Self {
        Self { max_memory: limits.max_memory, max_decoded: limits.max_decoded }
    }
}

/// Reports on standard error where decoding ended, if it did.
pub(crate) fn report_end_of_decoding(budget: &Budget) {
    if let Some(ended) = budget.decoding_ended() {
        crate::stderr::report(&anyhow!(
            "decoding ended at connection {}, exchange {} on it: {} are decoded; raise --max-decoded for the rest",
            ended.conn,
            ended.stream,
            Size(ended.max_decoded)
        ));
    }
}
