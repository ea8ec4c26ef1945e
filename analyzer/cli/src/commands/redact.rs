//! `redact`: a capture without its secrets.
//!
//! What is blanked, and how, is [`sslrec_redact`]'s, which the recorder uses too.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use sslrec_formats::Destination;
use sslrec_redact::{Redactor, Rules};

use super::convert::Job;

/// What the long help ends with.
const HELP: &str = "\
Rules:
  default       authorization, proxy-authorization, x-api-key, cookie and
                set-cookie, and bearer
  header:NAME   values of a header or trailer field
  cookie        values of all cookies; cookie:NAME of one
  query:NAME    values in queries and fragments of URLs, wherever these stand
  json:NAME     values of a field in any body, nested ones too
  form:NAME     values in a form; forms of several parts as a whole
  bearer        what follows the word, anywhere; so does basic
  regex:RE      what the expression (of Rust's regex crate, on bytes), or its
                first group, matches in one header line, target or body

Nothing changes its length, so the listing, the times and Wireshark's view stay
as they were. Where it cannot be known whether something is secret it is
blanked: bodies with a content coding, such as gzip, if any rule but header and
cookie is given; what follows a gap in a body; what comes before the first
message of a connection that was joined late. What is not HTTP is looked
through for bearer, basic and regex only. Names of servers, processes and
files stay.

Example:
  sslanalyze redact capture.pcapng shared.pcapng --redact default \\
      --redact json:password --redact query:token";

/// Write the capture anew, without its secrets
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub(crate) struct Redact {
    /// A raw log or pcapng of sslrec, also compressed; `-` is standard input
    #[arg(value_name = "IN")]
    file: PathBuf,

    /// What to write: NAME.pcapng, or NAME.zst for the raw log; `-` is pcapng on standard output
    #[arg(value_name = "OUT")]
    out: Destination,

    /// What to blank: default, header:NAME, cookie[:NAME], query:NAME, json:NAME, form:NAME,
    /// bearer, basic or regex:RE; repeatable [default: default]
    #[arg(
        long = "redact",
        value_name = "RULE",
        default_value = "default",
        hide_default_value = true
    )]
    rules: Vec<Rules>,

    /// Write the servers' real ports into the pcapng, and not 80
    #[arg(long)]
    keep_port: bool,

    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
}

/// Does it.
pub(super) fn run(redact: &Redact) -> Result<()> {
    let mut rules = Rules::default();
    redact.rules.iter().for_each(|rule| rules.add(rule.clone()));
    let Redact { file, out, keep_port, quiet, .. } = redact;
    let redactor = Some(Redactor::new(rules));
    Job { file, out, keep_port: *keep_port, quiet: *quiet, redactor }.run("redacted")
}
