//! The man pages and completions of a program, checked by programs of others.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Has `program` write its manual with `--generate`, and checks that there is a page for it and for
/// each of `commands` and no other, that mandoc accepts each page, and that bash accepts the
/// completions. Returns the text of the page of the program.
pub fn check(program: &Path, commands: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let share = dir.path();
    run(Command::new(program).arg("--generate").arg(share));
    let name = program.file_name().unwrap().to_str().unwrap();
    let pages = share.join("man/man1");
    let found: BTreeSet<String> = fs::read_dir(&pages)
        .unwrap()
        .map(|page| page.unwrap().file_name().into_string().unwrap())
        .collect();
    let expected = commands.iter().map(|command| format!("{name}-{command}.1"));
    assert_eq!(found, expected.chain([format!("{name}.1")]).collect());
    for page in found.iter().filter(|_| has("mandoc")) {
        let lint = Command::new("mandoc")
            .args(["-T", "lint", "-W", "warning"])
            .arg(pages.join(page))
            .output()
            .unwrap();
        let complaints = String::from_utf8(lint.stdout).unwrap();
        // A page is the same whenever it is made, so it has no date.
        let complaints: Vec<_> =
            complaints.lines().filter(|line| !line.contains("missing date")).collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
    let script = share.join("bash-completion/completions").join(name);
    let complete = format!(". {}; complete -p {name}", script.display());
    assert!(run(Command::new("bash").args(["-euc", &complete])).contains(name));
    for script in
        [format!("zsh/site-functions/_{name}"), format!("fish/vendor_completions.d/{name}.fish")]
    {
        let script = fs::read_to_string(share.join(script)).unwrap();
        assert!(commands.iter().all(|command| script.contains(command)), "{script}");
        assert!(!script.contains("self-test") && !script.contains("generate"), "{script}");
    }
    match has("mandoc") {
        true => {
            run(Command::new("mandoc").args(["-T", "utf8"]).arg(pages.join(format!("{name}.1"))))
        }
        false => String::new(),
    }
}

/// Whether a program is installed, which it always is in continuous integration.
fn has(program: &str) -> bool {
    let found = Command::new(program)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    let missing = format!("{program} is missing; packaging/install-deps.sh test installs it");
    assert!(found || std::env::var_os("CI").is_none(), "{missing}");
    found
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}
