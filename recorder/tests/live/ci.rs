//! The example workflows under `packaging/ci` work: their own commands are run here.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::server::Nginx;
use crate::support::{Live, Output, SSLREC, sslanalyze};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/ci")
}

/// A workflow as a reader of YAML that is not ours understands it.
fn workflow(live: &Live, name: &str) -> Value {
    let script = "import json, sys, yaml\njson.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let path = folder().join(name).to_str().unwrap().to_owned();
    let json = live.succeed("/usr/bin/python3", &["-c", script, &path]);
    serde_json::from_str(&json).unwrap()
}

/// Commands that record and check, commands that show the failures, and the files that are kept.
type Parts = (Vec<String>, Vec<String>, Vec<String>);

fn github(live: &Live) -> Parts {
    let workflow = workflow(live, "github-actions.yml");
    let steps = workflow["jobs"]["test"]["steps"].as_array().unwrap();
    let commands = |wanted: &Value| -> Vec<String> {
        let steps = steps.iter().filter(|step| step["if"] == *wanted);
        let steps = steps.filter(|step| step["name"] != "install sslrec");
        let runs = steps.filter_map(|step| step["run"].as_str());
        runs.flat_map(str::lines).map(str::to_owned).collect()
    };
    let upload = steps.last().unwrap();
    assert_eq!(
        (&upload["if"], &upload["uses"]),
        (&"always()".into(), &"actions/upload-artifact@v4".into())
    );
    let kept = upload["with"]["path"].as_str().unwrap().lines().map(str::to_owned).collect();
    (commands(&Value::Null), commands(&"failure()".into()), kept)
}

fn gitlab(live: &Live) -> Parts {
    let job = &workflow(live, "gitlab-ci.yml")["recorded tests"];
    let list = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect()
    };
    let artifacts = &job["artifacts"];
    assert_eq!(artifacts["when"], "always");
    assert_eq!(artifacts["reports"]["junit"], "sslrec-check.xml");
    (list(&job["script"]), list(&job["after_script"]), list(&artifacts["paths"]))
}

fn executable(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs the commands as a CI service does, in a project whose tests ask for these URLs.
fn run(live: &Live, project: &Path, commands: &[String], nginx: &Nginx, paths: &[&str]) -> Output {
    fs::create_dir_all(project.join("bin")).unwrap();
    fs::copy(folder().join("sslrec-rules.toml"), project.join("sslrec-rules.toml")).unwrap();
    // The tests run as root already, perhaps where there is no sudo.
    let sudo = "#!/bin/sh\nwhile :; do\n case $1 in\n --user) shift 2;;\n --*) shift;;\n *) exec \"$@\";;\n esac\ndone\n";
    executable(&project.join("bin/sudo"), sudo);
    let curl = |path: &&str| {
        let header = "Authorization: Bearer s3cret-t0ken";
        format!("curl -sS -o /dev/null --cacert {} -H '{header}' {}\n", nginx.ca(), nginx.url(path))
    };
    let tests: String = paths.iter().map(curl).collect();
    executable(&project.join("run-tests"), &format!("#!/bin/sh -e\n{tests}"));
    let programs = [Path::new(SSLREC), sslanalyze()].map(|p| p.parent().unwrap().display());
    let path = format!(
        "{}:{}:{}:{}",
        project.join("bin").display(),
        programs[0],
        programs[1],
        std::env::var("PATH").unwrap()
    );
    let script = commands.join("\n");
    let mut shell = Command::new("bash");
    live.run(shell.args(["-e", "-c", &script]).current_dir(project).env("PATH", path))
}

#[test]
fn the_workflows_record_check_and_keep() {
    let Some(live) = Live::start() else { return };
    let nginx = Nginx::start(&live);
    nginx.serve("small.html", b"small");
    let parts = github(&live);
    assert_eq!(parts, gitlab(&live));
    let (commands, on_failure, kept) = parts;
    let good = live.path("good");
    let output = run(&live, &good, &commands, &nginx, &["/small.html", "/redirect"]);
    assert_eq!(output.code(), 0, "{}{}", output.stdout, output.stderr);
    assert!(output.stdout.contains("ok    no deletes (2 checked)"), "{}", output.stdout);
    for file in &kept {
        let contents = String::from_utf8_lossy(&fs::read(good.join(file)).unwrap()).into_owned();
        assert!(!contents.is_empty() && !contents.contains("s3cret-t0ken"), "{file}");
    }

    let bad = live.path("bad");
    let output = run(&live, &bad, &commands, &nginx, &["/small.html", "/missing?token=x"]);
    assert_eq!(output.code(), 1, "{}{}", output.stdout, output.stderr);
    assert!(output.stdout.contains("FAIL  maximum status 399: 1 of 2"), "{}", output.stdout);
    assert!(output.stdout.contains("FAIL  no secrets in URLs: 1 of 2"), "{}", output.stdout);
    kept.iter().for_each(|file| assert!(bad.join(file).exists(), "{file}"));
    let output = run(&live, &bad, &on_failure, &nginx, &[]);
    assert_eq!(output.code(), 0, "{}", output.stderr);
    assert!(output.stdout.contains("/missing"), "{}", output.stdout);

    let empty = run(&live, &live.path("empty"), &commands, &nginx, &[]);
    assert_eq!(empty.code(), 4, "{}", empty.stderr);
}
