//! Messages of HTTP/1 with secrets in them.

use sslrec_formats::record::Direction;

use super::{Calls, Planter, SECRET, Source};

/// Returns requests and their responses on a connection.
pub(super) fn calls(planter: &Planter, source: &mut Source<'_>) -> Calls {
    let mut calls = Vec::new();
    while calls.len() < 12 {
        let (request, method) = request(planter, source);
        let is_last = source.rest.is_empty() || source.one_in(8);
        let response = response(planter, source, method, is_last);
        calls.push((Direction::Sent, request));
        calls.push((Direction::Received, response));
        if is_last {
            break;
        }
    }
    calls
}

fn request(planter: &Planter, source: &mut Source<'_>) -> (Vec<u8>, &'static str) {
    let method = ["GET", "POST", "HEAD", "PUT"][source.below(4)];
    let target: Vec<u8> = planter.target(source);
    let mut message = [method.as_bytes(), b" ", &target, b" HTTP/1.1\r\nHost: h\r\n"].concat();
    let contents = method.starts_with('P').then(|| planter.contents(source));
    fields(planter, source, &mut message);
    body(planter, source, contents, &mut message);
    (message, method)
}

fn response(planter: &Planter, source: &mut Source<'_>, method: &str, is_last: bool) -> Vec<u8> {
    let mut message = Vec::new();
    if source.one_in(4) {
        message.extend(b"HTTP/1.1 103 Early Hints\r\n");
        fields(planter, source, &mut message);
        message.extend(b"\r\n");
    }
    let status = [200, 404, 204, 304, 500][source.below(5)];
    message.extend(format!("HTTP/1.1 {status} Said\r\n").as_bytes());
    fields(planter, source, &mut message);
    if method == "HEAD" || [204, 304].contains(&status) {
        message.extend(b"Content-Length: 40\r\n\r\n");
    } else if is_last && source.one_in(2) {
        // Up to the end of the connection.
        let (contents, _) = planter.contents(source);
        message.extend(b"\r\n");
        message.extend(contents);
    } else {
        let contents = Some(planter.contents(source));
        body(planter, source, contents, &mut message);
    }
    message
}

/// Appends header fields, some of them with odd spellings.
fn fields(planter: &Planter, source: &mut Source<'_>, message: &mut Vec<u8>) {
    for (name, value) in planter.fields(source) {
        let name = if source.one_in(3) { name.to_uppercase() } else { name.to_owned() };
        let before = [": ", ":", " : ", ":\t", ":\r\n "][source.below(5)];
        message.extend([name.as_bytes(), before.as_bytes(), &value].concat());
        if name.eq_ignore_ascii_case("x-own") && source.one_in(2) {
            // Obsolete line folding (RFC 9112 section 5.2).
            message.extend(["\r\n ", SECRET].concat().as_bytes());
        }
        message.extend(if source.one_in(4) { &b"\n"[..] } else { b"\r\n" });
    }
}

/// Appends the end of a head, and its contents.
fn body(
    planter: &Planter,
    source: &mut Source<'_>,
    contents: Option<(Vec<u8>, &'static str)>,
    message: &mut Vec<u8>,
) {
    let Some((contents, kind)) = contents else { return message.extend(b"\r\n") };
    if !kind.is_empty() {
        message.extend(["Content-Type: ", kind, "\r\n"].concat().as_bytes());
    }
    if source.one_in(2) {
        message.extend(format!("Content-Length: {}\r\n\r\n", contents.len()).as_bytes());
        return message.extend(contents);
    }
    message.extend(b"Transfer-Encoding: chunked\r\n\r\n");
    let mut rest = &contents[..];
    while !rest.is_empty() {
        let (chunk, tail) = rest.split_at((1 + source.below(30)).min(rest.len()));
        rest = tail;
        let extension = if source.one_in(8) { ";a=b" } else { "" };
        message.extend(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
        message.extend([chunk, b"\r\n"].concat());
    }
    message.extend(b"0\r\n");
    if source.one_in(3) {
        fields(planter, source, message);
    }
    message.extend(b"\r\n");
}
