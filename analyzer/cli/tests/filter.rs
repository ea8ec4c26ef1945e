//! Filters on the command line.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::path::Path;
use std::process::{Command, Output};

fn analyze(args: &[&str]) -> Output {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/analyzer");
    Command::new(env!("CARGO_BIN_EXE_sslanalyze")).args(args).current_dir(dir).output().unwrap()
}

fn lines(args: &[&str]) -> Vec<serde_json::Value> {
    let output = analyze(args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The filter keeps those that the same question to the JSON keeps, with the same numbers.
#[test]
fn a_filter_lists_what_the_json_says_it_should() {
    let all = lines(&["--json", "http-server.pcapng"]);
    let (all_summary, all) = all.split_last().unwrap();
    assert!(all_summary.get("listed").is_none(), "{all_summary}");
    type Question = fn(&serde_json::Value) -> bool;
    let questions: [(&str, Question); 5] = [
        ("status>=400", |item| item["response"]["status"].as_u64().is_some_and(|n| n >= 400)),
        ("method=POST or ttfb_ms<0.5", |item| {
            item["request"]["method"] == "POST" || item["ttfb_ms"].as_f64().is_some_and(|n| n < 0.5)
        }),
        ("not complete", |item| item["complete"] == false),
        ("path~e", |item| item["request"]["path"].as_str().is_some_and(|path| path.contains('e'))),
        ("id=2", |item| item["id"] == 2),
    ];
    let mut listed = 0;
    for (filter, question) in questions {
        let wanted: Vec<_> = all.iter().filter(|item| question(item)).collect();
        let some = lines(&["--json", "http-server.pcapng", filter]);
        let (summary, some) = some.split_last().unwrap();
        assert_eq!(some.iter().collect::<Vec<_>>(), wanted, "{filter}");
        assert_eq!(summary["listed"], wanted.len(), "{filter}");
        assert_eq!(summary["exchanges"], all_summary["exchanges"]);
        listed += wanted.len();
    }
    assert!(listed > 2 && listed < 5 * all.len(), "{listed}");
}

#[test]
fn the_last_line_says_how_many_were_listed_of_how_many() {
    let text = String::from_utf8(analyze(&["http-server.pcapng", "id<=2"]).stdout).unwrap();
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(text.lines().last().unwrap().starts_with("2 listed of "), "{text}");
}

#[test]
fn a_bad_filter_exits_2_and_shows_where() {
    let output = analyze(&["http-server.pcapng", "status>=500 and hots~api"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let text = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[..3],
        [
            "sslanalyze: bad filter: unknown field `hots`; did you mean `host`?",
            "  status>=500 and hots~api",
            "                  ^^^^",
        ],
        "{text}"
    );
    assert!(lines[3].starts_with("allowed here: a field: status, method, host, path"), "{text}");
}

#[test]
fn a_bad_filter_is_told_before_the_file_is_opened() {
    assert_eq!(analyze(&["absent.pcapng", "status>="]).status.code(), Some(2));
}
