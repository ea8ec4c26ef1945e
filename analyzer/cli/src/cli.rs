//! The command line of `sslanalyze`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Parser;
use sslrec_analyzer::filter::{self, Filter};
use sslrec_analyzer::item_fields;
use sslrec_cli::color::Color;

use crate::commands::Command;
use crate::files::is_stdin;
use crate::limits::Limits;

/// List the HTTP exchanges of a capture of sslrec, of any plaintext pcap, or of a HAR
#[derive(Debug, Parser)]
#[command(
    name = "sslanalyze",
    version,
    override_usage = "sslanalyze [OPTIONS] FILE... [FILTER]\n       sslanalyze COMMAND ...",
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true,
    after_help = "A file that is named like a command is listed as ./NAME.\n\nExit status: 0 success; 1 FILE is unreadable or damaged; 2 bad usage."
)]
pub(crate) struct Cli {
    /// Subcommand to run instead of the listing.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Captures to read, and a filter; `-` is standard input
    ///
    /// A capture is a raw log, a pcapng, a pcap or a HAR, also compressed by gzip, zstd, xz, lz4 or
    /// bzip2. The kind is recognised by the content, never by the name. A damaged file is listed up
    /// to the damage. A capture without its closing record is listed completely and reported as not
    /// closed (`closed` in the JSON): the data that the recorder still had in memory is missing.
    ///
    /// Several captures are merged by time, and their connections are renumbered. The two files
    /// of a recording count as a single capture, and so do all packet captures, since they may be
    /// parts of a ring buffer.
    ///
    /// The last argument is the filter if it follows a file and no file has this name; see
    /// --filter.
    #[arg(value_name = "FILE", required = true, num_args = 1..)]
    pub(crate) files: Vec<PathBuf>,

    /// List only items that match, such as 'status>=500 and host~api'
    #[arg(short = 'Y', long, value_name = "FILTER", long_help = filter_help())]
    pub(crate) filter: Option<String>,

    /// Print a JSON object per line, the last of which is a summary
    ///
    /// `type` is exchange, stream (a connection that is not HTTP) or handshake. A TLS handshake has
    /// the negotiated parameters that the program queried, `ok`, the `result` of its last call
    /// (`fn`), and its duration. Of the handshakes before a connection's first byte the last 8 are
    /// listed.
    ///
    /// An exchange of a protocol on top of HTTP has `grpc`, `websocket` or `events`, with the
    /// fields of that protocol and the number of messages from each end.
    ///
    /// Header octets above 0x7F become the code points of the same number. Example:
    /// `sslanalyze --json capture.pcapng | jq 'select(.response.status >= 500)'`
    #[arg(long)]
    pub(crate) json: bool,

    /// Add the contents of messages and streams to the JSON, as base64
    ///
    /// Messages of gRPC, WebSocket and server-sent events are in `messages`, decompressed, each
    /// with its time; a WebSocket has no `body`.
    ///
    /// The contents of a message are in memory until it ends, and the contents of a connection that
    /// is not HTTP until it closes. Contents that are longer than --max-memory allows are cut.
    #[arg(long, requires = "json")]
    pub(crate) bodies: bool,

    /// Undo content codings (gzip, deflate, br, zstd) of the bodies
    ///
    /// `body` is then the decoded body, and `decoded_bytes` its length. A body is decoded to at
    /// most 256 MiB, and beyond 16 MiB to 256 times its length, within --max-memory and
    /// --max-decoded. Of a body that continues at 100 times its length, 1 MiB is kept. `notes`
    /// reports where these limits, damage, or an unknown coding left something out. If nothing
    /// could be decoded, `body` is as sent and `decoded_bytes` is missing. Transfer codings of
    /// these names are undone as well.
    #[arg(long, requires = "bodies")]
    pub(crate) decode: bool,

    /// Name the fields of gRPC's messages by a descriptor set
    ///
    /// Each message then has its `type` and, as `message`, its fields by name, in place of `fields`
    /// by number. `protoc --include_imports -o FILE` makes such a set from `.proto` files.
    #[arg(long, value_name = "FILE", requires = "bodies")]
    pub(crate) proto: Option<PathBuf>,

    /// Wait at the end of FILE for more, as `tail -f` does
    ///
    /// Exchanges are then listed when they end, not in the order of their beginning. The listing
    /// ends when the capture is closed, or with Ctrl-C, with the summary in both cases. Example:
    /// `sslanalyze -f capture.zst 'status>=500'` while sslrec records.
    #[arg(short = 'f', long)]
    pub(crate) follow_file: bool,

    /// List both ends of a connection if both were recorded
    ///
    /// By default such a connection is listed once, from the client's end.
    #[arg(long)]
    pub(crate) both_ends: bool,

    /// Number of threads, at most 3
    ///
    /// The second thread formats the lines of the listing, the third reads the capture. The listing
    /// is always the same. The default is the number of processors. Several captures are always
    /// read by a thread each, and a live listing (--follow-file, standard input) always uses a
    /// single thread.
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,

    #[command(flatten)]
    pub(crate) limits: Limits,

    /// Colour the listing: auto, always or never
    ///
    /// `auto`, the default, colours on a terminal unless NO_COLOR is set and not empty, or
    /// TERM is dumb. In a pager: `sslanalyze --color always capture.pcapng | less -RS`
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true,
        hide_default_value = true
    )]
    pub(crate) color: Color,

    /// Show no progress
    ///
    /// Progress is shown while a file is read, on a terminal, if the listing goes elsewhere.
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Write man pages and completions into folders below DIR, such as /usr/local/share
    #[arg(long, hide = true, value_name = "DIR", exclusive = true)]
    pub(crate) generate: Option<PathBuf>,
}

/// Returns the long help of `--filter`, whose list of fields comes from the table of fields.
fn filter_help() -> String {
    let names = item_fields::all().map(|field| match field.remark {
        Some(remark) => format!("{} ({remark})", field.name()),
        None => field.name().to_owned(),
    });
    let fields = filled(&format!("{}.", names.collect::<Vec<_>>().join(", ")), 79);
    FILTER_HELP.replace("FIELDS", &fields)
}

/// Wraps a text at spaces, into lines of at most `width` characters.
fn filled(text: &str, width: usize) -> String {
    let mut filled = String::new();
    let mut len = 0;
    for word in text.split(' ') {
        if len > 0 && len + 1 + word.len() > width {
            filled.push('\n');
            len = 0;
        } else if len > 0 {
            filled.push(' ');
            len += 1;
        }
        filled.push_str(word);
        len += word.len();
    }
    filled
}

const FILTER_HELP: &str = "\
List only items that match, such as 'status>=500 and host~api'

A condition is a field, an operator and a value:

  status>=500            = != < <= > >= on numbers, sizes and times
  host~\"^api[.]\"         ~ and !~ search for a regular expression (Rust's regex
                         crate; case matters unless it begins with (?i));
                         = and != compare the whole text
  duration>200ms         us, ms or s;  body_bytes>=1.5M  K, M or G
  time>=2026-11-23T04:21 UTC, as in the JSON, truncated anywhere
  not complete           a field alone: it is known, or it is true

Join conditions with and, or, not (also &&, ||, !) and parentheses; `and` binds
closer than `or`. A value with blanks needs quotes, \"...\" or '...'.

Fields are those of --json, with a dot for each level, some with a short name:
FIELDS

header.NAME is a header of the request or the response, request.header.NAME and
response.header.NAME of one of them; trailer.NAME likewise. If a field has several
values, =, ~, < and > match if any value does; != and !~ match only if no value
equals or matches.

Handshakes are matched only by filters that use `type` or a handshake field (ok,
latency, result, fn). The text listing has handshakes only with such a filter:
'type=handshake and ok=false'.

A comparison with an unknown value (null in the JSON, or a header that is not
present) is always false, even != and !~. `not status=200` also matches items
without a response; `status!=200` does not.

Examples:
  sslanalyze capture.pcapng 'status>=500 or not complete'
  sslanalyze capture.pcapng 'method=POST and header.content-type~json'
  sslanalyze -Y 'pid=4242' monday.pcapng.gz tuesday.pcapng.gz";

impl Cli {
    /// Returns whether the command is `diff`, whose exit codes are those of diff(1).
    pub(crate) fn is_diff(&self) -> bool {
        matches!(self.command, Some(Command::Diff(_)))
    }

    /// Returns the files to read, and the filter, which may be the last argument.
    ///
    /// # Errors
    /// The filter is invalid.
    pub(crate) fn files_and_filter(&self) -> Result<(&[PathBuf], Option<Filter>), filter::Error> {
        if let Some(text) = &self.filter {
            return Ok((&self.files, Some(Filter::parse(text)?)));
        }
        match self.files.split_last() {
            // A dangling link is a missing file, not a filter.
            Some((last, files))
                if !files.is_empty() && !is_stdin(last) && last.symlink_metadata().is_err() =>
            {
                let text = last.to_string_lossy();
                let hint = format!("no file named `{text}` either");
                let filter = Filter::parse(&text).map_err(|error| error.with_hint(hint))?;
                Ok((files, Some(filter)))
            }
            _ => Ok((&self.files, None)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn short_help_fits_79_columns() {
        let mut command = Cli::command().term_width(79);
        command.build();
        for line in command.render_help().to_string().lines() {
            assert!(line.chars().count() <= 79, "{line}");
        }
    }

    #[test]
    fn every_command_has_a_line_of_help_and_an_example() {
        let mut command = Cli::command();
        command.build();
        for command in command.get_subcommands_mut() {
            let name = command.get_name().to_owned();
            let about = command.get_about().unwrap().to_string();
            assert!(about.len() < 79 && !about.contains('\n'), "{name}: {about}");
            let help = command.render_long_help().to_string();
            let (_, example) = help.split_once("Example:").unwrap_or_else(|| panic!("{help}"));
            assert!(example.contains(&format!("sslanalyze {name} ")), "{help}");
        }
    }

    #[test]
    fn a_command_is_recognised_only_in_the_place_of_the_first_file() {
        let command = |args: &[&str]| Cli::try_parse_from(args).unwrap().command.is_some();
        assert!(command(&["sslanalyze", "show", "f", "1"]));
        assert!(!command(&["sslanalyze", "./show"]));
        assert!(!command(&["sslanalyze", "f", "show"]));
        assert!(!command(&["sslanalyze", "help"]));
        assert!(Cli::try_parse_from(["sslanalyze"]).is_err());
    }

    #[test]
    fn bodies_need_json() {
        assert!(Cli::try_parse_from(["sslanalyze", "--bodies", "f"]).is_err());
        assert!(Cli::try_parse_from(["sslanalyze", "--json", "--bodies", "-"]).is_ok());
        assert!(Cli::try_parse_from(["sslanalyze", "--json", "--decode", "f"]).is_err());
    }
}
