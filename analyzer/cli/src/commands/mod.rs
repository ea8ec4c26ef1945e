//! The commands other than the listing. Each reads a capture and converts it to another form.
//!
//! A command uses only the model. It processes items one by one and keeps no more than it needs.

mod charset;
mod check;
mod convert;
mod curl;
mod diff;
mod extract;
mod file_name;
mod follow;
mod har;
mod html;
mod new_file;
mod open_connections;
mod reading;
mod redact;
mod shell;
mod show;
mod stats;
mod transcript;

use anyhow::Result;
use clap::Subcommand;

/// A command to run instead of the listing. The help of each command is the documentation of its
/// arguments; a doc comment on a variant would replace it.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "see above")]
pub(crate) enum Command {
    Show(show::Show),
    Check(Box<check::Check>),
    Har(har::Har),
    Html(html::Html),
    Stats(stats::Stats),
    Extract(extract::Extract),
    Follow(follow::Follow),
    Convert(convert::Convert),
    Diff(Box<diff::Diff>),
    Redact(Box<redact::Redact>),
}

/// Runs a command.
///
/// # Errors
/// The options of the command are invalid (checked before the capture is read), the capture is
/// unreadable or damaged, or the output cannot be written.
pub(crate) fn run(command: &Command) -> Result<()> {
    match command {
        Command::Show(show) => show::run(show),
        Command::Check(check) => check::run(check),
        Command::Har(har) => har::run(har),
        Command::Html(html) => html::run(html),
        Command::Stats(stats) => stats::run(stats),
        Command::Extract(extract) => extract::run(extract),
        Command::Follow(follow) => follow::run(follow),
        Command::Convert(convert) => convert::run(convert),
        Command::Diff(diff) => diff::run(diff),
        Command::Redact(redact) => redact::run(redact),
    }
}
