//! Man pages and shell completions, made from the definition of a command line.
//!
//! The files are laid out as below `share`, so that installing them is a copy.

use std::fs;
use std::io;
use std::path::Path;

use clap::{ArgGroup, Command, Id};
use clap_complete::Shell;
use clap_mangen::Man;

/// Folder of the man pages, below `share`.
const MAN: &str = "man/man1";

/// Shells with their folders below `share`, where each looks for completions.
const SHELLS: [(Shell, &str); 3] = [
    (Shell::Bash, "bash-completion/completions"),
    (Shell::Zsh, "zsh/site-functions"),
    (Shell::Fish, "fish/vendor_completions.d"),
];

/// Writes a man page for the program and for each of its commands, and completions for bash, zsh
/// and fish, into folders below `share`.
///
/// # Errors
/// A folder or a file cannot be written.
pub fn write(command: Command, share: &Path) -> io::Result<()> {
    let mut command = visible(&command);
    command.build();
    let pages = share.join(MAN);
    fs::create_dir_all(&pages)?;
    let source = format!("{} {}", command.get_name(), command.get_version().unwrap_or_default());
    write_page(&command, &source, &pages)?;
    for command in command.get_subcommands() {
        write_page(command, &source, &pages)?;
    }
    let name = command.get_name().to_owned();
    for (shell, folder) in SHELLS {
        let folder = share.join(folder);
        fs::create_dir_all(&folder)?;
        let file = match shell {
            Shell::Bash => folder.join(&name),
            Shell::Zsh => folder.join(format!("_{name}")),
            _ => folder.join(format!("{name}.fish")),
        };
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, &name, &mut script);
        fs::write(file, script)?;
    }
    Ok(())
}

/// The command without its hidden options and commands, which `clap_complete` would offer.
fn visible(command: &Command) -> Command {
    let args = || command.get_arguments().filter(|arg| !arg.is_hide_set());
    let group = |group: &ArgGroup| {
        let is_shown = |id: &&Id| args().any(|arg| arg.get_id() == *id);
        ArgGroup::new(group.get_id().clone())
            .args(group.get_args().filter(is_shown).cloned())
            .required(group.is_required_set())
            .multiple(true)
    };
    let mut shown = Command::new(command.get_name().to_owned())
        .args(args())
        .groups(command.get_groups().map(group))
        .subcommands(command.get_subcommands().filter(|sub| !sub.is_hide_set()).map(visible))
        .disable_help_subcommand(true);
    if let Some(version) = command.get_version() {
        shown = shown.version(version.to_owned());
    }
    if let Some(usage) = command.get_overridden_usage() {
        shown = shown.override_usage(usage.clone());
    }
    if let Some(about) = command.get_about() {
        shown = shown.about(about.clone());
    }
    if let Some(about) = command.get_long_about() {
        shown = shown.long_about(about.clone());
    }
    if let Some(help) = command.get_after_long_help().or_else(|| command.get_after_help()) {
        shown = shown.after_help(help.clone());
    }
    shown
}

fn write_page(command: &Command, source: &str, pages: &Path) -> io::Result<()> {
    // Without a date, so that a page depends on nothing but the definition. An empty argument would
    // vanish from the line, and the source would become the date.
    let page = Man::new(command.clone()).date("\"\"").source(source).manual("User Commands");
    let mut roff = Vec::new();
    page.render(&mut roff)?;
    fs::write(pages.join(page.get_filename()), laid_out(&String::from_utf8_lossy(&roff)))
}

/// The page with empty lines as paragraphs and indented lines, such as examples and tables, as they
/// are, and the usual names of sections. In a help text both are part of the layout; `clap_mangen`
/// passes them on as plain text.
fn laid_out(roff: &str) -> String {
    let mut page = String::new();
    let mut is_indented = false;
    let mut lines = roff.lines().peekable();
    while let Some(line) = lines.next() {
        let is_empty = line.trim().is_empty();
        // An empty line between indented lines does not end the block.
        let stays =
            is_empty && is_indented && lines.peek().is_some_and(|next| next.starts_with(' '));
        let indent = line.starts_with(' ') && !is_empty || stays;
        match (is_indented, indent) {
            (false, true) => page.push_str(".nf\n"),
            (true, false) => page.push_str(".fi\n"),
            _ => {}
        }
        is_indented = indent;
        page.push_str(match line {
            ".SH EXTRA" => ".SH NOTES",
            ".SH SUBCOMMANDS" => ".SH COMMANDS",
            _ if is_empty => ".sp",
            _ => line,
        });
        page.push('\n');
    }
    if is_indented {
        page.push_str(".fi\n");
    }
    page
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

    use clap::Arg;

    use super::*;

    #[test]
    fn indented_lines_stay_as_they_are() {
        assert_eq!(laid_out("a\n  b\n\n  c\n\nd\n"), "a\n.nf\n  b\n.sp\n  c\n.fi\n.sp\nd\n");
        assert_eq!(laid_out("  b\n"), ".nf\n  b\n.fi\n");
        assert_eq!(laid_out(".SH X\n\n.TP\n"), ".SH X\n.sp\n.TP\n");
    }

    #[test]
    fn there_is_a_page_for_each_command_and_a_script_for_each_shell() {
        let dir = tempfile::tempdir().unwrap();
        let sub = Command::new("look").about("Look");
        let hidden = Command::new("secret").hide(true);
        let command = Command::new("prog").version("1.2").subcommands([sub, hidden]);
        let option = |name: &'static str| Arg::new(name).long(name);
        let command = command.args([option("shown"), option("hidden").hide(true)]);
        let command = command.group(ArgGroup::new("all").args(["shown", "hidden"]));
        write(command, dir.path()).unwrap();
        let mut pages: Vec<_> = fs::read_dir(dir.path().join(MAN)).unwrap().collect();
        let mut pages: Vec<_> = pages.drain(..).map(|page| page.unwrap().file_name()).collect();
        pages.sort();
        assert_eq!(pages, ["prog-look.1", "prog.1"]);
        let page = fs::read_to_string(dir.path().join(MAN).join("prog-look.1")).unwrap();
        assert!(page.contains(".TH prog-look 1 \"\" \"prog 1.2\" \"User Commands\""), "{page}");
        for script in [
            "bash-completion/completions/prog",
            "zsh/site-functions/_prog",
            "fish/vendor_completions.d/prog.fish",
        ] {
            let script = fs::read_to_string(dir.path().join(script)).unwrap();
            assert!(script.contains("look") && script.contains("shown"), "{script}");
            assert!(!script.contains("hidden") && !script.contains("secret"), "{script}");
        }
    }
}
