//! The recognition of protocols, and what becomes of the bytes before them.

use sslrec_formats::record::{Direction, Record};
use sslrec_redact_testing::http2::{INDEXED, frame, literal};
use sslrec_redact_testing::{connection, contains, data, sent};

use crate::Redactor;
use crate::tests::{redact, rules};

/// Returns the bytes that are emitted at once, after each of the calls of a connection.
fn emitted(calls: &[&[u8]]) -> Vec<usize> {
    let mut redactor = Redactor::new(rules(&["default"]));
    redactor.record(&connection(false), &mut |_| {});
    let (mut offset, mut out) = (0, 0);
    let mut lens = Vec::new();
    for payload in calls {
        let data = data(Direction::Sent, offset, payload, 0);
        redactor.record(&Record::Data(data), &mut |record| {
            if let Record::Data(data) = record {
                out += data.payload.len();
            }
        });
        offset += payload.len() as u64;
        lens.push(out);
    }
    lens
}

#[test]
fn only_bytes_that_may_begin_a_message_are_held() {
    for (calls, expected) in [
        // Other protocols: a line without an end, and fewer bytes than a frame header.
        (&[&b"\x16\x03\x01 (no message)"[..]][..], &[16][..]),
        (&[b"\x01\x02"], &[2]),
        (&[b"\0\0\x01"], &[0]),
        (&[b"\0\0\x01\x07"], &[4]),
        (&[b"\0\0\x01\x04\0\0\0\0\x01"], &[9]),
        (&[b"(200) no line end!"], &[18]),
        (&[b"two words", b" more"], &[0, 0]),
        (&[b"(and", b" more\n", b"(0123)"], &[4, 10, 16]),
        (&[b"HTTP/1.", b"1 200 OK"], &[0, 0]),
        (&[b"PRI * HTTP/2"], &[0]),
    ] {
        let lens = emitted(calls);
        assert_eq!(lens, expected, "{:?}", calls.concat().escape_ascii().to_string());
    }
}

#[test]
fn bytes_before_frames_in_a_call_after_missing_bytes_are_blanked() {
    let cookie = literal(INDEXED, ("cookie", false), (b"hunter2", false));
    let kept = literal(INDEXED, ("a", false), (b"kept", false));
    let frames = [
        frame(1, 4, 1, &[&cookie[..], &kept].concat()),
        frame(0, 1, 1, b"see the text"),
        frame(6, 0, 0, &[7; 8]),
        frame(6, 0, 0, &[8; 8]),
    ]
    .concat();
    for junk in [1, 10, 100] {
        let junk = b"hunter2 ".iter().copied().cycle().take(junk).collect::<Vec<_>>();
        let calls = vec![sent([&junk[..], &frames].concat()), sent(&frames)];
        let [out, _] = redact(&["default"], &calls, true);
        let text = out.escape_ascii().to_string();
        let (before, after) = out.split_at(junk.len());
        assert!(before.iter().all(|&octet| octet == b'*'), "{text}");
        assert!(!contains(&out, "hunter2") && contains(after, "kept"), "{text}");
        assert!(after.starts_with(&frames[..12]), "{text}");
        let second = &after[frames.len()..];
        assert!(contains(second, "kept") && contains(second, "see the text"), "{text}");
    }
}

/// Once there were other bytes, frames without a preface are bytes like all others.
#[test]
fn a_server_begins_with_its_settings_or_not_at_all() {
    let settings = frame(4, 0, 0, &[]);
    let cookie = literal(INDEXED, ("cookie", false), (b"c00kie", false));
    let frames = [&settings[..], &frame(1, 4, 1, &cookie)].concat();
    let [out, _] = redact(&["default"], &vec![sent(&frames)], false);
    assert!(!contains(&out, "c00kie"), "{}", out.escape_ascii());
    for before in [&b"text"[..], b"text\n", b"\r\n\r\ntext\n"] {
        let [out, _] = redact(&["default"], &vec![sent(before), sent(&frames)], false);
        assert!(out.ends_with(&frames), "{}", out.escape_ascii());
    }
    let [out, _] = redact(&["default"], &vec![sent(b"\r\n\r\n"), sent(&frames)], false);
    assert!(!contains(&out, "c00kie"), "{}", out.escape_ascii());
}
