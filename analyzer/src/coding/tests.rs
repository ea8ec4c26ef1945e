use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use sslrec_formats::record::Direction;

use super::*;
use crate::budget::{Budget, Limits};
use crate::exchange::{Request, Response, SharedConnection};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn raw_deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn brotli(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut input = bytes;
    let params = brotli::enc::BrotliEncoderParams { quality: 5, ..Default::default() };
    brotli::BrotliCompress(&mut input, &mut out, &params).unwrap();
    out
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ::zstd::encode_all(bytes, 3).unwrap()
}

/// Text that compresses, but not to almost nothing.
fn text(len: usize) -> Vec<u8> {
    let mut seed = 7u32;
    let mut next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b"abcdefgh"[(seed >> 29) as usize]
    };
    (0..len).map(|_| next()).collect()
}

type Encode = fn(&[u8]) -> Vec<u8>;

const CODINGS: [(&str, Encode); 6] = [
    ("gzip", gzip),
    ("X-GZIP", gzip),
    ("deflate", zlib),
    ("deflate", raw_deflate),
    ("br", brotli),
    ("zstd", zstd),
];

fn whole(bytes: Vec<u8>) -> Decoded {
    Decoded { bytes: Some(bytes), problem: None }
}

/// Undoes the codings of a message; the note about them.
fn undone(message: &mut Message) -> Option<Note> {
    let mut notes = Vec::new();
    undo_message(Part::Response, message, true, &mut notes);
    notes.pop()
}

#[test]
fn every_coding_and_every_chain_of_two_is_undone() {
    for len in [0, 1, 1000, 20_000] {
        let text = text(len);
        for (name, encode) in CODINGS {
            assert_eq!(decode(&[name], &encode(&text)), whole(text.clone()), "{name} {len}");
            for (second, encode_again) in CODINGS {
                let body = encode_again(&encode(&text));
                assert_eq!(decode(&[name, second], &body), whole(text.clone()), "{name}, {second}");
            }
        }
    }
}

#[test]
fn members_and_frames_follow_one_another() {
    for encode in [gzip as Encode, zstd] {
        let name = if encode(b"")[0] == 0x1f { "gzip" } else { "zstd" };
        let body = [encode(b"one "), encode(b""), encode(b"two")].concat();
        assert_eq!(decode(&[name], &body), whole(b"one two".to_vec()));
    }
    let padded = [gzip(b"one"), vec![0; 100]].concat();
    assert_eq!(decode(&["gzip"], &padded), whole(b"one".to_vec()));
}

#[test]
fn data_after_the_end_is_omitted_with_a_note() {
    for (name, encode) in [("gzip", gzip as Encode), ("deflate", zlib)] {
        let decoded = decode(&[name], &[encode(b"one"), b"more".to_vec()].concat());
        assert_eq!(decoded.bytes.as_deref(), Some(&b"one"[..]));
        let problem = format!("4 bytes after the end of {name} are left out");
        assert_eq!(decoded.problem.unwrap(), &*problem);
    }
}

#[test]
fn a_truncated_body_is_decoded_up_to_there_with_a_note() {
    // More than a block of zstd.
    let text = text(300_000);
    for (name, encode) in CODINGS {
        let body = encode(&text);
        let mut lengths = Vec::new();
        let in_the_middle = (20..body.len() - 12).step_by(body.len() / 10);
        for cut in (1..20).chain(in_the_middle).chain(body.len() - 12..body.len()) {
            let decoded = decode(&[name], &body[..cut]);
            let bytes = decoded.bytes.unwrap_or_default();
            assert!(text.starts_with(&bytes), "{name} {cut}");
            assert!(decoded.problem.is_some(), "{name} {cut}");
            lengths.push(bytes.len());
        }
        // A bare stream is recognised only if it is complete.
        let bare = !decoders::is_zlib(&body) && name == "deflate";
        assert!(lengths.is_sorted() && (bare || lengths.last() > Some(&0)), "{name} {lengths:?}");
    }
}

#[test]
fn any_flipped_bit_ends_without_panic_and_within_the_limit() {
    let text = text(120);
    for (name, encode) in CODINGS {
        let body = encode(&text);
        for bit in 0..body.len() * 8 {
            let mut damaged = body.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let decoded = decode_up_to(&[name], &damaged, 4096);
            assert!(decoded.bytes.is_none_or(|bytes| bytes.len() <= 4096));
        }
    }
}

#[test]
fn a_wrong_label_shows_the_body_as_sent() {
    for name in ["gzip", "deflate", "zstd"] {
        let decoded = decode(&[name], b"{\"plain\": \"json, whatever the header says\"}");
        assert_eq!(decoded.bytes, None, "{name}");
        assert_eq!(decoded.problem, Some(Problem::AsSent(Fault::OtherCoding(name))));
    }
    let decoded = decode(&["aws-chunked"], b"x");
    assert_eq!(decoded, Decoded::as_sent(Fault::UnknownCoding("aws-chunked".into())));
    let many = decode(&["gzip"; 9], b"x");
    assert_eq!(many, Decoded::as_sent(Fault::TooManyCodings(9)));
}

#[test]
fn a_bomb_is_decoded_up_to_the_limit() {
    const LIMIT: usize = 1 << 20;
    let zeros = vec![0; LIMIT + 1];
    for (name, encode) in CODINGS {
        let decoded = decode_up_to(&[name], &encode(&zeros), LIMIT);
        assert_eq!(decoded.bytes.map(|bytes| bytes.len()), Some(LIMIT), "{name}");
        let problem = decoded.problem.unwrap().to_string();
        assert!(problem.starts_with("more than 1.0M of "), "{problem}");
        // A body of exactly the limit is not a bomb.
        let just = decode_up_to(&[name], &encode(&zeros[1..]), LIMIT);
        assert_eq!(just, whole(zeros[1..].to_vec()));
    }
    // A bomb inside a bomb.
    let nested = decode_up_to(&["gzip", "gzip"], &gzip(&gzip(&zeros)), LIMIT);
    assert_eq!(nested.bytes.map(|bytes| bytes.len()), Some(LIMIT));
    assert_eq!([0, 1 << 17, usize::MAX].map(limit), [FREE, 1 << 25, MAX_DECODED]);
}

fn message(coding: &[&str], body: &[u8]) -> Message {
    let mut message = Message::default();
    for coding in coding {
        message.headers.push(b"Content-Encoding", coding.as_bytes());
    }
    message.body.bytes = body.len() as u64;
    message.body.data = Some(body.to_vec());
    message
}

#[test]
fn both_messages_of_an_exchange_are_decoded() {
    let mut exchange = Exchange::new(&SharedConnection::default(), Direction::Sent, 1);
    let request = message(&["deflate"], b"plain");
    let response = message(&[" gzip ,identity,", "br"], &brotli(&gzip(b"hello")));
    exchange.request = Some(Request { message: request, ..Request::default() });
    exchange.response = Some(Response { message: response, ..Response::default() });
    undo(&mut exchange);
    let request = &exchange.request.as_ref().unwrap().message.body;
    assert_eq!((request.data.as_deref(), request.decoded_bytes), (Some(&b"plain"[..]), None));
    let response = &exchange.response.as_ref().unwrap().message.body;
    assert_eq!((response.data.as_deref(), response.decoded_bytes), (Some(&b"hello"[..]), Some(5)));
    assert_eq!(exchange.notes, ["request body: it is not deflate, or not whole; shown as sent"]);
}

#[test]
fn transfer_codings_of_http1_are_undone_before_content_codings() {
    let body = gzip(&brotli(b"hello"));
    for (transfer, is_undone) in [
        (&["gzip, chunked"][..], true),
        (&["GZIP ; q=1", "identity", "chunked"], true),
        (&["gzip"], true),
        (&["chunked", "gzip"], false),
        (&["compress, chunked"], false),
    ] {
        let mut coded = message(&["br"], &body);
        for coding in transfer {
            coded.headers.push(b"transfer-encoding", coding.as_bytes());
        }
        let note = undone(&mut coded);
        assert_eq!(note.is_none(), is_undone, "{note:?}");
        let expected = if is_undone { b"hello" } else { body.as_slice() };
        assert_eq!(coded.body.data.as_deref(), Some(expected), "{transfer:?}");
    }
    // HTTP/2 has none, whatever a peer sends.
    let mut exchange = Exchange::new(&SharedConnection::default(), Direction::Sent, 1);
    exchange.proto = "h2";
    let mut response = message(&[], &body);
    response.headers.push(b"transfer-encoding", b"gzip, chunked");
    exchange.response = Some(Response { message: response, ..Response::default() });
    undo(&mut exchange);
    assert_eq!(exchange.response.unwrap().message.body.data, Some(body));
    assert!(exchange.notes.is_empty());
}

#[test]
fn a_body_that_is_not_coded_or_not_kept_stays() {
    let mut plain = message(&[], b"abc");
    assert_eq!(undone(&mut plain), None);
    assert_eq!(
        (plain.body.data.as_deref(), plain.body.decoded_bytes),
        (Some(&b"abc"[..]), Some(3))
    );
    let mut head = message(&["gzip"], b"");
    assert_eq!(undone(&mut head), None);
    assert_eq!(head.body.decoded_bytes, Some(0));
    let mut dropped = message(&["gzip"], b"abc");
    dropped.body.data = None;
    assert_eq!(undone(&mut dropped), None);
    assert_eq!(dropped.body.decoded_bytes, None);
}

#[test]
fn little_is_kept_of_a_bomb_and_all_of_it_counts() {
    let mut bomb = GzEncoder::new(Vec::new(), Compression::default());
    (0..70).for_each(|_| bomb.write_all(&[0; 1 << 20]).unwrap());
    let bomb = bomb.finish().unwrap();
    let first = limit(bomb.len());
    assert!(first > FREE, "{first}");
    let budget = Budget::new(Limits { max_decoded: first as u64 + 5, ..Limits::DEFAULT });
    let mut held = budget.charge(Share::Decoded);
    let Within { decoded, ended } = decode_within(&["gzip"], &bomb, usize::MAX, &mut held);
    assert_eq!((decoded.bytes.map(|bytes| bytes.len()), ended), (Some(BOMB_KEPT), None));
    let problem = decoded.problem.unwrap().to_string();
    assert!(problem.ends_with("of gzip; the rest is not decoded; only the first 1.0M are kept"));
    assert_eq!(budget.decoded_left(), 5);
    // The next body ends the budget, and of another one nothing is decoded.
    let limit = Some(first as u64 + 5);
    let Within { decoded, ended } = decode_within(&["gzip"], &bomb, usize::MAX, &mut held);
    assert_eq!((decoded.bytes.map(|bytes| bytes.len()), ended), (Some(5), limit));
    let Within { decoded, ended } = decode_within(&["gzip"], &bomb, usize::MAX, &mut held);
    assert_eq!((decoded.bytes, ended), (None, limit));
    // Both outputs are still held.
    assert!(held.grow((96 << 20) - BOMB_KEPT - 5) && !held.grow(1));
}
