//! `--redact`: the exchanges of curl and nginx, without their secrets, in files and as text.

use std::process::Command;

use crate::listing::lines;
use crate::server::Nginx;
use crate::support::{Live, Recorded, SSLREC};

/// The secrets that curl sends, one of each kind.
const SECRETS: [&str; 7] = [
    "b3arer.t0ken",
    "c00kie-value",
    "k3y-in-a-header",
    "s3cret-of-our-own",
    "t0ken-in-a-query",
    "passw0rd-in-json",
    "tok_zyxwvutsrq",
];

const RULES: [&str; 10] = [
    "--redact",
    "default",
    "--redact",
    "header:x-own",
    "--redact",
    "query:token",
    "--redact",
    "json:password",
    "--redact",
    "regex:tok_[a-z]+",
];

fn curl(nginx: &Nginx, version: &str) -> Vec<String> {
    let [bearer, cookie, key, own, token, password, tok] = SECRETS;
    let mut command: Vec<String> =
        ["curl", version, "-sS", "--cacert", &nginx.ca()].map(str::to_owned).into();
    for field in [
        format!("Authorization: Bearer {bearer}"),
        format!("Cookie: sid={cookie}"),
        format!("X-Api-Key: {key}"),
        format!("X-Own: {own}"),
        format!("X-Other: a {tok} b"),
        "Content-Type: application/json".to_owned(),
    ] {
        command.extend(["-H".to_owned(), field]);
    }
    let body = format!(r#"{{"user":"u","password":"{password}","also":"{tok}"}}"#);
    command.extend(["-d".to_owned(), body]);
    // Twice on the same connection: the second head of HTTP/2 refers to the first.
    for _ in 0..2 {
        let url = nginx.url(&format!("/post?x=1&token={token}"));
        command.extend([url, "-o".to_owned(), "/dev/null".to_owned()]);
    }
    command
}

fn assert_clean(live: &Live, recorded: &Recorded) {
    let raw = live.succeed("zstd", &["-dc", recorded.raw.to_str().unwrap()]);
    let pcapng = String::from_utf8_lossy(&std::fs::read(&recorded.pcapng).unwrap()).into_owned();
    let shown = live.tshark(&recorded.pcapng, &["-V"]);
    let listing = live.list_both(&recorded.pcapng, &recorded.raw, &["--bodies", "--decode"]);
    let listed = format!("{:?}", listing.exchanges);
    for secret in SECRETS {
        for (what, text) in
            [("raw log", &raw), ("pcapng", &pcapng), ("tshark", &shown), ("listing", &listed)]
        {
            assert!(!text.contains(secret), "{secret} is in the {what}");
        }
    }
    assert_eq!(live.tshark(&recorded.pcapng, &["-Y", "_ws.malformed"]), "");
    let notes = listing.summary["notes"].to_string();
    assert!(notes.contains("default, header:x-own, query:token, json:password, regex"), "{notes}");
    let all = lines(&listing.exchanges);
    assert_eq!(all.len(), 2, "{all:?}");
    for (line, exchange) in all.iter().zip(&listing.exchanges) {
        assert!(line.starts_with("POST /post?x=1&token="), "{line}");
        assert!(line.ends_with(" 201"), "{line}");
        assert_eq!(exchange["complete"], true, "{exchange}");
        let body = crate::listing::bytes_of(&exchange["request"], "body");
        let expected = r#"{"user":"u","password":"****************","also":"**************"}"#;
        assert_eq!(String::from_utf8_lossy(&body), expected);
    }
}

#[test]
fn secrets_reach_no_file() {
    let Some(live) = Live::start() else { return };
    let nginx = Nginx::start_http2(&live);
    for version in ["--http1.1", "--http2"] {
        let recorded = live.record(&RULES, &curl(&nginx, version)).succeeded();
        assert_clean(&live, &recorded);
        let listing = live.list(&recorded.raw, &[]);
        let proto = listing.exchanges[0]["proto"].as_str().unwrap().to_owned();
        assert_eq!(proto, if version == "--http2" { "h2" } else { "http/1.1" });
    }
}

#[test]
fn secrets_do_not_reach_the_text() {
    let Some(live) = Live::start() else { return };
    let nginx = Nginx::start(&live);
    let mut sslrec = Command::new(SSLREC);
    let output = live.run(sslrec.args(RULES).arg("--").args(curl(&nginx, "--http1.1")));
    assert_eq!(output.code(), 0, "{}", output.stderr);
    assert!(output.stdout.contains("Authorization: ****"), "{}", output.stdout);
    for secret in SECRETS {
        assert!(!output.stdout.contains(secret), "{secret}: {}", output.stdout);
    }
}

#[test]
fn a_bad_rule_says_what_is_allowed() {
    let output = Command::new(SSLREC).args(["--redact", "headers", "--", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("header:NAME"));
}
