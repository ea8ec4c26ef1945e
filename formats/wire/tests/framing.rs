//! The exact pieces of messages at every split, the states of the framer, and the contradictions of
//! heads.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use sslrec_wire::http1::framing::Contradiction;
use sslrec_wire::http1::message::{State, Why};
use sslrec_wire::http1::{Declared, Framer, Framing, Kind, Piece};

/// Returns the pieces of `bytes`, which arrive in parts of `len`: name and text of each. Parts of
/// the same content are one piece.
fn pieces(kind: Kind, framing: Framing, bytes: &str, len: usize) -> Vec<(&'static str, String)> {
    let (mut framer, mut held) = (Framer::new(kind), Vec::new());
    let mut all: Vec<(&'static str, String)> = Vec::new();
    for part in bytes.as_bytes().chunks(len) {
        held.extend_from_slice(part);
        for turn in 0.. {
            assert!(turn < 100, "the framer makes no progress: {all:?}");
            let (name, taken) = match framer.next(&held) {
                Piece::More => break,
                Piece::Begin => ("begin", 0),
                Piece::End => ("end", 0),
                Piece::Lost(why) => {
                    all.push(("lost", format!("{why:?}")));
                    return all;
                }
                Piece::Head(len) => {
                    assert_eq!(framer.state(), State::AwaitFraming);
                    framer.set_framing(framing);
                    ("head", len)
                }
                Piece::Blank(len) => ("blank", len),
                Piece::Content(len) => ("content", len),
                Piece::ChunkLine(len) => ("size", len),
                Piece::ChunkEnd(len) => ("chunk end", len),
                Piece::Trailers(len) => ("trailers", len),
                Piece::Tunnel(len) => ("tunnel", len),
            };
            let text: Vec<u8> = held.drain(..taken).collect();
            let text = String::from_utf8(text).unwrap();
            match all.last_mut() {
                Some((before, known))
                    if *before == name && ["content", "blank", "tunnel"].contains(&name) =>
                {
                    known.push_str(&text);
                }
                _ => all.push((name, text)),
            }
        }
    }
    all
}

fn check(kind: Kind, framing: Framing, bytes: &str, expected: &[(&str, &str)]) {
    for len in 1..=bytes.len() {
        let pieces = pieces(kind, framing, bytes, len);
        let pieces: Vec<_> = pieces.iter().map(|(name, text)| (*name, &text[..])).collect();
        assert_eq!(pieces, expected, "{bytes:?} in parts of {len}");
    }
}

#[test]
fn messages_have_exactly_these_pieces() {
    let head = "POST / HTTP/1.1\r\nA: b\r\n\r\n";
    check(
        Kind::Request,
        Framing::Chunked,
        &format!("\r\n{head}5;x\r\nhello\r\n3\nabc\n0\r\nT: u\r\n\r\nGET"),
        &[
            ("blank", "\r\n"),
            ("begin", ""),
            ("head", head),
            ("size", "5;x\r\n"),
            ("content", "hello"),
            ("chunk end", "\r\n"),
            ("size", "3\n"),
            ("content", "abc"),
            ("chunk end", "\n"),
            ("size", "0\r\n"),
            ("trailers", "T: u\r\n\r\n"),
            ("end", ""),
            ("begin", ""),
        ],
    );
    for (line, end) in [("\r\n", "\r\n"), ("\n", "\n")] {
        check(
            Kind::Request,
            Framing::Chunked,
            &format!("{head}0{line}{end}"),
            &[
                ("begin", ""),
                ("head", head),
                ("size", &format!("0{line}")),
                ("trailers", end),
                ("end", ""),
            ],
        );
    }
    let head = "HTTP/1.1 200 OK\n\n";
    check(
        Kind::Response,
        Framing::Length(5),
        &format!("{head}hello\n\n{head}he"),
        &[
            ("begin", ""),
            ("head", head),
            ("content", "hello"),
            ("end", ""),
            ("blank", "\n\n"),
            ("begin", ""),
            ("head", head),
            ("content", "he"),
        ],
    );
    check(Kind::Response, Framing::Length(0), head, &[("begin", ""), ("head", head), ("end", "")]);
    let text = format!("{head}{head}");
    check(
        Kind::Response,
        Framing::UntilClose,
        &text,
        &[("begin", ""), ("head", head), ("content", head)],
    );
    check(
        Kind::Response,
        Framing::Tunnel,
        &text,
        &[("begin", ""), ("head", head), ("tunnel", head)],
    );
    check(Kind::Response, Framing::AwaitResponse, &text, &[("begin", ""), ("head", head)]);
}

#[test]
fn invalid_messages_lose_the_framing_for_a_reason() {
    let head = "POST / HTTP/1.1\r\n\r\n";
    for (kind, rest, pieces) in [
        (
            Kind::Request,
            "3\r\nabcd",
            &[("size", "3\r\n"), ("content", "abc"), ("lost", "BadChunkEnd")][..],
        ),
        (
            Kind::Request,
            "3\r\nabc\rx",
            &[("size", "3\r\n"), ("content", "abc"), ("lost", "BadChunkEnd")],
        ),
        (Kind::Request, "g\r\n", &[("lost", "BadChunkSize")]),
        (Kind::Request, "\r\n", &[("lost", "BadChunkSize")]),
    ] {
        let expected = [&[("begin", ""), ("head", head)][..], pieces].concat();
        check(kind, Framing::Chunked, &format!("{head}{rest}"), &expected);
    }
    for bytes in ["\x16\x03\x01", "HTTP/1.1 200 OK\r\n\r\n"] {
        check(Kind::Request, Framing::Chunked, bytes, &[("begin", ""), ("lost", "NotAHead")]);
    }
    check(
        Kind::Response,
        Framing::Chunked,
        "GET / HTTP/1.1\r\n\r\n",
        &[("begin", ""), ("lost", "NotAHead")],
    );
}

#[test]
fn states_are_set_by_the_caller() {
    let mut framer = Framer::new(Kind::Response);
    assert_eq!((framer.kind(), framer.state()), (Kind::Response, State::Start));
    assert_eq!(Framer::lost(Kind::Request).state(), State::Lost);
    framer.head_was_read();
    assert_eq!(framer.state(), State::AwaitFraming);
    // A caller that forgets the framing.
    assert_eq!(framer.clone().next(b"x"), Piece::Lost(Why::NoFraming));
    framer.search();
    assert_eq!((framer.state(), framer.next(b"GET")), (State::Lost, Piece::More));
    framer.restart();
    assert_eq!(framer.state(), State::Start);
    framer.begin();
    assert_eq!(framer.state(), State::Head { scanned: 0, started: false });
    framer.tunnel();
    assert_eq!((framer.state(), framer.next(b"GET")), (State::Tunnel, Piece::Tunnel(3)));
    for (framing, state) in [
        (Framing::Length(0), State::Done),
        (Framing::Length(7), State::Length { left: 7 }),
        (Framing::Chunked, State::ChunkSize),
        (Framing::UntilClose, State::UntilClose),
        (Framing::Tunnel, State::Tunnel),
        (Framing::AwaitResponse, State::Held),
    ] {
        framer.set_framing(framing);
        assert_eq!(framer.state(), state);
    }
    assert_eq!(framer.next(b"GET"), Piece::More);
}

#[test]
fn contradictions_have_names() {
    use Contradiction::{BothDeclared, InvalidLength, LengthsDiffer, NotChunked, RepeatedLength};
    let (length, coding) = ("content-length", "Transfer-Encoding");
    for (fields, framing, expected) in [
        (&[(length, "5"), (length, "5")][..], Framing::Length(5), &[RepeatedLength][..]),
        (&[(length, "5"), (length, "6")], Framing::Length(5), &[LengthsDiffer]),
        (&[(length, "5, 6")], Framing::Length(5), &[LengthsDiffer]),
        (&[(length, "x")], Framing::Length(0), &[InvalidLength]),
        (&[(length, "")], Framing::Length(0), &[InvalidLength]),
        (&[(length, "5")], Framing::Length(5), &[]),
        (&[(length, "5"), (coding, "chunked")], Framing::Chunked, &[BothDeclared]),
        (&[(coding, "chunked, gzip")], Framing::UntilClose, &[NotChunked]),
        (&[("x-length", "5"), ("te", "chunked")], Framing::Length(0), &[]),
    ] {
        let mut declared = Declared::default();
        fields.iter().for_each(|(name, value)| declared.field(name.as_bytes(), value.as_bytes()));
        let mut notes = Vec::new();
        let found = declared.of_request(b"POST", 1, |note| notes.push(note));
        assert_eq!((found, &notes[..]), (framing, expected), "{fields:?}");
    }
}
