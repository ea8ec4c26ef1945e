//! Runs the command line: lists the input, and turns failures into messages.

use std::io::{self, BufWriter};

use anyhow::{Context, Result};
use clap::CommandFactory;
use sslrec_analyzer::pipeline::{Assembler, Options};
use sslrec_cli::manual;

use crate::cli::Cli;
use crate::commands;
use crate::exit::Usage;
use crate::files::{self, Files, is_stdin};
use crate::flow;
use crate::limits;
use crate::listing::{self, Listing};
use crate::output::Output;
use crate::output::json::Json;
use crate::output::table::Table;
use crate::terminal;
use crate::threads::Threads;

/// Size of the output buffer in bytes.
const OUT_BUFFER: usize = 64 << 10;

/// Lists a capture, or runs the command. A closed pipe is not an error.
///
/// # Errors
/// The filter or the options are invalid; nothing was read then. The capture is unreadable or
/// damaged; everything before the damage was listed then.
pub(crate) fn run(cli: &Cli) -> Result<()> {
    let done = match (&cli.command, &cli.generate) {
        (Some(command), _) => commands::run(command),
        (None, Some(share)) => manual::write(Cli::command(), share)
            .with_context(|| format!("cannot write the manual below {}", share.display())),
        (None, None) => list(cli),
    };
    match done {
        // The reader of the output has exited, as a pager does.
        Err(error) if is_broken_pipe(&error) => Ok(()),
        done => done,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn list(cli: &Cli) -> Result<()> {
    let (paths, filter) = cli.files_and_filter()?;
    let stdins = paths.iter().filter(|path| is_stdin(path)).count();
    if stdins > 1 {
        return Err(Usage("standard input can only be read once; give `-` once".into()).into());
    }
    if cli.follow_file && paths.len() > 1 {
        return Err(Usage("--follow-file reads a single file; give only one".into()).into());
    }
    let files = Files::open(paths, cli.follow_file, cli.quiet)?;
    let listing = Listing {
        filter,
        decode: cli.decode,
        handshakes: cli.json,
        output: output(cli)?,
        listed: 0,
        live: stdins > 0 || cli.follow_file,
    };
    let options = Options {
        both_ends: cli.both_ends,
        bodies: cli.bodies,
        as_finished: cli.follow_file,
        limits: cli.limits.into(),
        ..Options::default()
    };
    let threads = if listing.live { Threads::one() } else { Threads::of_listing(cli.threads) };
    let mut capture = match threads.lister {
        true => Assembler::with_lister_thread(options, listing).context("cannot start a thread")?,
        false => Assembler::new(options, listing),
    };
    let budget = capture.budget().clone();
    let read = files.with_threads(threads).with_budget(&budget).read(&mut capture)?;
    let finished = capture.finish(read.start_ns, read.is_whole());
    let (mut summary, mut listing) = finished.map_err(flow::error)?;
    summary.closed &= read.closed;
    summary.notes.extend(read.notes.iter().cloned());
    summary.listed = listing.filter.is_some().then_some(listing.listed);
    let output = &mut listing.output;
    output.summary(&summary).and_then(|()| output.flush()).context(listing::CANNOT_WRITE)?;
    limits::report_end_of_decoding(&budget);
    read.end(&read.listed(listing.listed))
}

fn output(cli: &Cli) -> Result<Box<dyn Output + Send>> {
    let out = BufWriter::with_capacity(OUT_BUFFER, io::stdout());
    if cli.json {
        let descriptors = cli.proto.as_deref().map(files::descriptors).transpose()?;
        return Ok(Box::new(Json::new(out).with_descriptors(descriptors)));
    }
    Ok(Box::new(Table::new(out, cli.color.is_on(&io::stdout()), terminal::width())))
}
