//! `redact`: writes a capture without its secrets.
//!
//! [`sslrec_redact`] blanks them; the recorder uses the same code.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use sslrec_formats::Destination;
use sslrec_redact::{Count, Counts, Redactor, Rule, Rules};

use super::convert::Job;
use crate::limits::Memory;

/// End of the long help.
const HELP: &str = "\
Rules:
  default       every well-known field with credentials: authorization,
                cookie, set-cookie, x-api-key, x-auth-token and 65 others;
                query and form fields named password, token, secret or similar;
                user information in URLs; bearer; and tokens by
                their shape: JWT, AWS, GitHub, GitLab, Google, Slack, Stripe,
                PEM private keys
  header:NAME   values of a header or trailer field
  cookie        values of all cookies; cookie:NAME of one
  query:NAME    values in queries and fragments of URLs, anywhere
  json:NAME     values of a field in any body, nested ones too
  form:NAME     values in a form; forms of several parts as a whole
  bearer        the token behind the word, anywhere; so does basic
  regex:RE      the match of the expression (of Rust's regex crate, on bytes),
                or of its first group, in one header line, target or body

Names match in every usual spelling: password[], user[password],
percent-encoded at any depth, with JSON escapes, in JSON within a string, in
UTF-16. Lengths never change, so the listing, the times and Wireshark's view
stay as they were. Blanked as a whole: compressed bodies and the text of
gRPC-Web, if any rule but header and cookie is given; the rest of a body behind
a gap; all bytes before the first message of a connection that was joined late.
Bytes that are not HTTP, or are malformed, are searched like bodies and for
lines that look like header fields. Names of servers, processes and files stay.

IN may be a pcap or pcapng of any program. The connections in it are then
written as sslrec writes them, without the other packets.

Example:
  sslanalyze redact capture.pcapng shared.pcapng --redact default \\
      --redact json:password --redact query:token";

/// Copy a capture without its secrets
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub(crate) struct Redact {
    /// A raw log of sslrec, or any pcap or pcapng, also compressed; `-` is standard input
    #[arg(value_name = "IN")]
    file: PathBuf,

    /// File to write: NAME.pcapng, or NAME.zst for the raw log; `-` is pcapng on standard output
    #[arg(value_name = "OUT")]
    out: Destination,

    /// Secrets to blank: default, header:NAME, cookie[:NAME], query:NAME, json:NAME, form:NAME,
    /// bearer, basic or regex:RE; repeatable [default: default]
    #[arg(
        long = "redact",
        value_name = "RULE",
        default_value = "default",
        hide_default_value = true
    )]
    rules: Vec<Rules>,

    /// Write the real server ports into the pcapng, not 80
    #[arg(long)]
    keep_port: bool,

    #[command(flatten)]
    memory: Memory,

    /// Show neither progress nor counts
    #[arg(short, long)]
    quiet: bool,
}

/// Runs `sslanalyze redact`.
pub(super) fn run(redact: &Redact) -> Result<()> {
    let mut rules = Rules::default();
    redact.rules.iter().for_each(|rule| rules.add(rule.clone()));
    let Redact { file, out, keep_port, memory, quiet, .. } = redact;
    let redactor = Some(Redactor::new(rules));
    let (keep_port, memory, quiet) = (*keep_port, *memory, *quiet);
    let counts = Job { file, out, keep_port, memory, quiet, redactor }.run("redacted")?;
    if !quiet {
        report(&counts);
    }
    Ok(())
}

/// Prints the counts of blanked values, by rule and place, on standard error.
fn report(counts: &Counts) {
    if counts.iter().next().is_none() {
        eprintln!("nothing was blanked");
    }
    for (rule, place, Count { values, bytes }) in counts.iter() {
        match rule {
            Rule::Unsearchable => eprintln!("blanked {bytes} unsearchable bytes in {place}"),
            _ => eprintln!("blanked {values} values, {bytes} bytes, in {place} by {rule}"),
        }
    }
}
