//! `diff`: shows the differences between two captures, for instance the requests of two versions of
//! a service.
//!
//! Each capture is first summarised by kind of request ([`profile`]), without values that differ
//! from run to run: ids, dates, tokens, ports, processes and times. Only the summaries are
//! compared, so that the order and the number of requests do not matter.

mod profile;
mod report;
mod shape;

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::Args;
use sslrec_cli::text::Printable;

use self::profile::{Aspect, Profile, compare};
use super::reading::{Reading, Wanted, filter, flush, read, stdout};
use crate::exit::Differs;
use crate::stderr::report;

/// End of the long help.
const HELP: &str = "\
Requests with the same method, host (without the port) and path template are of the
same kind; the template replaces numbers, UUIDs, hashes and long identifiers with
{id}. For each kind these sets over all of its requests are compared:

  status            of the responses; `none` without one
  query             names of query parameters
  request_headers   names, except those about framing and transport
  response_headers
  request_body      media type, and in JSON the fields and their types, in forms
  response_body     the fields

Values of headers, parameters and fields are ignored, and so are ports, processes,
times and the number of requests. Connections that are not HTTP are compared by
their server. Of a name over 500 characters the beginning is compared. The kinds of
both captures take up to 1/8 of --max-memory; a message states if there are more.

Exit status: 0 no difference; 1 the captures differ; 2 trouble: a file is unreadable
or damaged, or bad usage.

Example:
  sslanalyze diff old.pcapng new.pcapng --ignore response_headers,status";

/// Show how two captures differ
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub(crate) struct Diff {
    /// The capture to compare with
    #[arg(value_name = "OLD")]
    old: PathBuf,

    /// The capture whose differences are shown
    #[arg(value_name = "NEW")]
    new: PathBuf,

    /// Use only items that match, as in the listing
    #[arg(value_name = "FILTER")]
    filter: Option<String>,

    /// Ignore status, query, request_headers, response_headers, request_body,
    /// response_body, or header:NAME; a list with commas, or repeated
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    ignore: Vec<Ignored>,

    /// Print a JSON object per difference, the last line is a summary
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    reading: Reading,
}

/// An aspect that is not compared.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ignored {
    Aspect(Aspect),
    /// A header name in lower case.
    Header(String),
}

impl std::str::FromStr for Ignored {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let header = text.strip_prefix("header:").filter(|name| !name.is_empty());
        let aspect = Aspect::ALL.into_iter().find(|aspect| aspect.as_str() == text);
        match (header, aspect) {
            (Some(name), _) => Ok(Self::Header(name.to_ascii_lowercase())),
            (None, Some(aspect)) => Ok(Self::Aspect(aspect)),
            (None, None) => {
                let names = Aspect::ALL.map(Aspect::as_str).join(", ");
                Err(format!("give {names} or header:NAME"))
            }
        }
    }
}

/// Runs `sslanalyze diff`.
pub(super) fn run(diff: &Diff) -> Result<()> {
    let filter = diff.filter.as_deref().map(filter).transpose()?;
    let mut profiles = Vec::new();
    let mut damage = Ok(());
    let room = diff.reading.limits.for_summaries() / 2;
    for file in [&diff.old, &diff.new] {
        let mut profile = Profile::new(&diff.ignore, room);
        let wanted = Wanted { filter: filter.clone(), bodies: true, ..Wanted::default() };
        let done = read(file, &diff.reading, wanted, &mut profile)?;
        if profile.is_cut() {
            report(&anyhow!(
                "{}: not all kinds and parts are compared, the rest as `(more)`; raise \
                 --max-memory",
                Printable(file)
            ));
        }
        profiles.push(profile);
        // Compare as far as both captures are readable; the data after damage is unknown.
        damage = damage.and(done.end());
    }
    let [old, new] = &profiles[..] else { return Ok(()) };
    let differences = compare(old, new);
    let mut out = stdout();
    if diff.json {
        report::json(&mut out, &differences)?;
    } else {
        report::text(&mut out, &differences)?;
    }
    flush(&mut out)?;
    damage?;
    if differences.is_empty() { Ok(()) } else { Err(Differs.into()) }
}
