//! A curl command line that repeats a request.
//!
//! Every part of it comes from the network, so every part is quoted ([`super::shell`]). No part can
//! become an option, or the name of a file that curl reads. Fields that curl cannot send are
//! omitted and reported.

use anyhow::{Result, bail};
use sslrec_analyzer::exchange::{Exchange, Fields, Request};

use super::shell::{octal, quote};

/// A command line, and the parts of the request that it omits.
pub(crate) struct Command {
    pub(crate) line: String,
    pub(crate) left_out: Vec<String>,
}

/// Fields that curl sets itself, from the length of the body and the state of the connection.
const BY_CURL: [&str; 5] =
    ["content-length", "transfer-encoding", "http2-settings", "expect", "te"];

/// Fields that curl adds unless an option removes them.
const ADDED: [&str; 3] = ["user-agent", "accept", "content-type"];

/// Returns the command that repeats the request of an exchange.
pub(crate) fn command(exchange: &Exchange) -> Result<Command> {
    let id = exchange.id;
    let Some(request) = &exchange.request else { bail!("exchange {id} has no request to repeat") };
    let tls = exchange.connection.tls;
    let (Some(method), Some(url)) = (request.method.as_deref(), request.url_octets(tls)) else {
        bail!("method or URL of exchange {id} are unknown, so the request cannot be repeated");
    };
    let body = request.message.body.data.as_deref().unwrap_or_default();
    let url = url.concat();
    let mut words = vec!["curl".to_owned(), "--globoff".into(), "--path-as-is".into()];
    words.push(version(exchange.proto, tls).into());
    words.extend(method_words(method, !body.is_empty()));
    let mut left_out = Vec::new();
    headers(request, &url, !body.is_empty(), &mut words, &mut left_out);
    let mut pipe = String::new();
    if !body.is_empty() {
        // `--data-raw` takes no `@file`, and an argument can be neither binary nor long.
        if body.contains(&0) || body.len() > 32 << 10 || std::str::from_utf8(body).is_err() {
            pipe = printf(body);
            words.extend(["--data-binary".into(), "@-".into()]);
        } else {
            words.extend(["--data-raw".into(), quote(body)]);
        }
    }
    // `--url` keeps a URL that begins with `-` from being read as an option.
    words.extend(["--url".into(), quote(&url)]);
    Ok(Command { line: pipe + &words.join(" "), left_out })
}

fn version(proto: &str, tls: bool) -> &'static str {
    match proto {
        "http/1.0" => "--http1.0",
        "http/1.1" => "--http1.1",
        _ if tls => "--http2",
        _ => "--http2-prior-knowledge",
    }
}

fn method_words(method: &str, has_body: bool) -> Vec<String> {
    match method {
        // With -X HEAD curl would wait for a body.
        "HEAD" => vec!["--head".into()],
        "GET" if !has_body => vec![],
        "POST" if has_body => vec![],
        method => vec!["--request".into(), quote(method.as_bytes())],
    }
}

fn headers(
    request: &Request,
    url: &[u8],
    has_body: bool,
    words: &mut Vec<String>,
    left_out: &mut Vec<String>,
) {
    let fields = &request.message.headers;
    let mut header = |line: &[u8]| words.extend(["--header".into(), quote(line)]);
    for (name, value) in fields.iter() {
        let lower = String::from_utf8_lossy(name).to_ascii_lowercase();
        if BY_CURL.contains(&lower.as_str()) || (lower == "host" && is_host_of(value, url)) {
            continue;
        }
        if !is_token(name) || value.contains(&0) || value == b"<unknown>" {
            left_out.push(format!("header {lower} is left out"));
        } else if value.is_empty() {
            // curl reads `Name:` as a request to remove the field.
            header(&[name, b";"].concat());
        } else {
            header(&[name, b": ", value].concat());
        }
    }
    for name in ADDED.iter().filter(|name| !has(fields, name)) {
        if *name != "content-type" || has_body {
            header(format!("{name}:").as_bytes());
        }
    }
    if has_body {
        header(b"expect:");
    }
    if has(fields, "accept-encoding") {
        words.push("--compressed".into());
    }
}

fn has(fields: &Fields, name: &str) -> bool {
    fields.first(name).is_some()
}

/// Returns whether curl derives this Host from the URL.
fn is_host_of(value: &[u8], url: &[u8]) -> bool {
    let authority = url.split(|&b| b == b'/').nth(2).unwrap_or_default();
    authority == value
}

/// Returns whether the name is a valid header name (RFC 9110 section 5.6.2).
fn is_token(name: &[u8]) -> bool {
    let token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    !name.is_empty() && name.iter().all(token)
}

/// Pipes the body to curl with `printf`. Arguments of a built-in have no length limit, and the
/// lines stay readable.
fn printf(body: &[u8]) -> String {
    format!("printf '{}' | ", octal(body))
}
