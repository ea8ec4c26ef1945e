//! Rules of the source that no other tool checks: no import circle between files, no word of clap
//! outside the command line, no comment line over 100 columns, no public doc without content.

#![allow(clippy::unwrap_used)] // tests

mod imports;

use std::fs;
use std::path::{Path, PathBuf};

use imports::Crate;

/// Columns of a comment line, with tabs of eight.
const COLUMNS: usize = 100;

/// The folders and files with source of the project.
const SOURCES: [&str; 5] = ["analyzer", "bpf", "formats", "recorder", "build.rs"];

/// Docs that repeat that there is something, without its role.
const EMPTY_DOCS: [&str; 3] = ["See the module.", "Does it.", "See above."];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All source files, by their paths below the root.
fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut queue: Vec<_> = SOURCES.iter().map(|source| root().join(source)).collect();
    while let Some(path) = queue.pop() {
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() && name != "target" && name != "testdata" && name != "corpus" {
            queue.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|kind| kind == "rs" || kind == "h" || kind == "c") {
            files.push(path.strip_prefix(root()).unwrap().to_owned());
        }
    }
    files.sort();
    assert!(files.len() > 300, "the search finds the source: {}", files.len());
    files
}

fn text(file: &Path) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}

/// Lines of all sources that a rule rejects, as `path:number`.
fn offences(is_bad: impl Fn(&Path, &str) -> bool) -> Vec<String> {
    let in_file = |file: PathBuf| {
        let lines: Vec<_> = (1..).zip(text(&file).lines().map(str::to_owned)).collect();
        let bad = lines.into_iter().filter(|(_, line)| is_bad(&file, line));
        bad.map(|(number, _)| format!("{}:{number}", file.display())).collect::<Vec<_>>()
    };
    sources().into_iter().flat_map(in_file).collect()
}

#[test]
fn no_files_import_each_other() {
    let is_code = |file: &PathBuf| {
        file.extension().is_some_and(|kind| kind == "rs") && !file.iter().any(|f| f == "tests")
    };
    let files: Vec<_> = sources().into_iter().filter(is_code).collect();
    let mut circles = Vec::new();
    for krate in Crate::all(&files) {
        circles.extend(krate.circle(&|file| text(file)));
    }
    assert!(circles.is_empty(), "files import each other in a circle: {circles:#?}");
}

/// Modules named `cli` or `plan`, the programs whose whole crate is a command line, and the module
/// that makes man pages of a command line.
fn may_know_clap(file: &Path) -> bool {
    let known = [
        "analyzer/cli",
        "formats/cli/src/manual.rs",
        "recorder/benches",
        "recorder/tests/source_rules",
    ];
    known.iter().any(|program| file.starts_with(program))
        || file.file_stem().is_some_and(|stem| stem == "cli" || stem == "plan")
}

#[test]
fn only_the_command_line_knows_clap() {
    let names = |line: &str| line.contains("clap::") && !is_comment(line);
    let bad = offences(|file, line| names(line) && !may_know_clap(file));
    assert!(bad.is_empty(), "clap outside cli and plan: {bad:#?}");
    let options = |line: &str| line.contains("cli::Options") || line.contains("cli::{");
    let bad = offences(|file, line| {
        file.starts_with("recorder/src") && options(line) && !may_know_clap(file)
    });
    assert!(bad.is_empty(), "the words of the command line outside cli and plan: {bad:#?}");
}

fn is_comment(line: &str) -> bool {
    let line = line.trim_start();
    ["//", "/*", "* ", "*/"].iter().any(|start| line.starts_with(start))
}

fn columns(line: &str) -> usize {
    line.chars().fold(0, |column, c| if c == '\t' { (column / 8 + 1) * 8 } else { column + 1 })
}

#[test]
fn comments_fit_into_100_columns() {
    let bad = offences(|_, line| is_comment(line) && columns(line) > COLUMNS);
    assert!(bad.is_empty(), "comment lines over {COLUMNS} columns: {bad:#?}");
}

#[test]
fn docs_have_content() {
    let is_empty = |line: &str| {
        let doc = line.trim_start().strip_prefix("///").map(str::trim);
        doc.is_some_and(|doc| EMPTY_DOCS.contains(&doc))
    };
    let bad = offences(|file, line| is_empty(line) && !file.starts_with("recorder/tests"));
    assert!(bad.is_empty(), "docs that do not name the role: {bad:#?}");
}

/// The documents of the project.
const DOCUMENTS: [&str; 12] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
    "docs/commands.md",
    "docs/containers-and-ci.md",
    "docs/figures.md",
    "docs/filters.md",
    "docs/how-it-works.md",
    "docs/limits.md",
    "docs/wireshark.md",
];

/// The name by which a heading can be linked to.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// Whether a link from the document at `from` leads to a file, and to a heading in it.
fn leads_somewhere(from: &Path, link: &str) -> bool {
    let (path, heading) = link.split_once('#').unwrap_or((link, ""));
    let from = root().join(from);
    let target = match path {
        "" => from,
        path => from.parent().unwrap().join(path),
    };
    let is_named = |text: String| {
        let headings =
            text.lines().filter_map(|line| Some(line.strip_prefix('#')?.trim_matches('#')));
        headings.map(|text| anchor(text.trim())).any(|name| name == heading)
    };
    target.exists() && (heading.is_empty() || fs::read_to_string(&target).is_ok_and(is_named))
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut bad = Vec::new();
    for document in DOCUMENTS {
        let text = text(Path::new(document));
        let links = text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
        for link in links.filter(|link| !link.starts_with("http")) {
            if !leads_somewhere(Path::new(document), link) {
                bad.push(format!("{document}: {link}"));
            }
        }
    }
    assert!(bad.is_empty(), "links that lead nowhere: {bad:#?}");
    assert!(!leads_somewhere(Path::new("README.md"), "docs/none.md"));
    assert!(!leads_somewhere(Path::new("README.md"), "docs/limits.md#none"));
}

#[test]
fn paths_in_the_architecture_exist() {
    let text = text(Path::new("ARCHITECTURE.md"));
    let folders = ["analyzer/", "bpf/", "formats/", "recorder/"];
    let paths: Vec<_> = text
        .split('`')
        .filter(|path| folders.iter().any(|folder| path.starts_with(folder)))
        .collect();
    assert!(paths.len() > 30, "{paths:?}");
    let bad: Vec<_> = paths.iter().filter(|path| !root().join(path).exists()).collect();
    assert!(bad.is_empty(), "ARCHITECTURE.md has paths of no file: {bad:#?}");
}

#[test]
fn a_made_circle_is_found() {
    let files = ["x/src/lib.rs", "x/src/a.rs", "x/src/b/mod.rs", "x/src/b/c.rs"];
    let files: Vec<_> = files.iter().map(PathBuf::from).collect();
    let [krate] = &Crate::all(&files)[..] else { panic!("one crate") };
    let circle = |a: &'static str, b: &'static str, c: &'static str| {
        krate.circle(&|file: &Path| {
            let of_file = match file.file_stem().and_then(|stem| stem.to_str()) {
                Some("a") => a,
                Some("mod") => b,
                Some("c") => c,
                _ => "mod a;\nmod b;\n",
            };
            of_file.to_owned()
        })
    };
    assert!(circle("use crate::b::c::Item;\n", "mod c;\n", "use super::super::a::f;\n").is_some());
    assert!(circle("use crate::b::{self, c::Item};\n", "use crate::a::f;\n", "").is_some());
    let qualified = "fn g() { super::super::a::f() }\n";
    assert!(circle("fn f() { crate::b::c::g() }\n", "mod c;\n", qualified).is_some());
    // A module and those within it may use each other, unless the way leads through another file.
    let parent = "mod c;\nfn f() { c::g() }\n";
    assert!(circle("", parent, "fn g() { super::f() }\n").is_none());
    assert!(circle("use crate::b::f;\n", parent, "use crate::a::h;\n").is_some());
    let parent = "mod c;\nuse crate::a::h;\nfn f() {}\n";
    assert!(circle("use crate::b::c::g;\n", parent, "use super::f;\n").is_some());
    // A re-export is no import of the file that has it, and leads to the file that it names.
    let facade = "mod c;\npub(crate) use self::c::Item;\npub(crate) fn f() {}\n";
    assert!(circle("", facade, "use super::f;\n").is_none());
    assert!(circle("use crate::b::Item;\n", facade, "use crate::a::g;\n").is_some());
    // Nor are tests, comments and strings.
    let tests = "#[cfg(test)]\nmod tests {\n    use crate::b::f;\n}\n";
    assert!(circle(tests, "use crate::a::g;\n", "").is_none());
    assert!(circle("// use crate::b::f;\n", "use crate::a::g;\n", "").is_none());
    assert!(circle("const A: &str = \"crate::b::f\";\n", "use crate::a::g;\n", "").is_none());
}
