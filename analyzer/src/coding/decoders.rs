//! Bounded decoders, one for each content coding.

use std::io::{self, ErrorKind, Read};

use flate2::bufread::{DeflateDecoder, GzDecoder, ZlibDecoder};

use super::{Coding, Stop};

/// Number of bytes decoded at a time.
const STEP: usize = 64 << 10;

/// The largest window that zstd may allocate, as a power of two. RFC 9659 allows 8 MiB in a content
/// coding; the library's own limit of 128 MiB also accepts senders that ignore the RFC.
pub(super) const ZSTD_WINDOW_LOG: u32 = 27;

/// Decodes up to `limit` bytes. Returns the output, and the reason if it is incomplete.
pub(super) fn run(coding: Coding, input: &[u8], limit: usize) -> (Vec<u8>, Option<Stop>) {
    let mut output = Vec::new();
    let stop = match coding {
        Coding::Gzip => gzip(input, &mut output, limit),
        Coding::Deflate => deflate(input, &mut output, limit),
        Coding::Brotli => {
            pump(brotli_decompressor::Decompressor::new(input, STEP), &mut output, limit)
        }
        Coding::Zstd => zstd(input, &mut output, limit),
    };
    (output, stop.err())
}

/// Decodes RFC 1952 members in sequence. Some servers append zeros.
fn gzip(mut input: &[u8], output: &mut Vec<u8>, limit: usize) -> Result<(), Stop> {
    loop {
        pump(GzDecoder::new(&mut input), output, limit)?;
        if !input.starts_with(&[0x1f, 0x8b]) {
            return trailing(input);
        }
    }
}

/// Decodes the zlib format of RFC 9110 section 8.4.1.2. Some servers send a bare stream of RFC
/// 1951, and browsers accept both.
fn deflate(mut input: &[u8], output: &mut Vec<u8>, limit: usize) -> Result<(), Stop> {
    let whole = input;
    if is_zlib(whole) {
        let result = pump(ZlibDecoder::new(&mut input), output, limit);
        // A bare stream can begin like zlib by chance; it then fails at once.
        if !output.is_empty() || result.is_ok() {
            return result.and_then(|()| trailing(input));
        }
    }
    input = whole;
    let result = pump(DeflateDecoder::new(&mut input), output, limit);
    let result = result.and_then(|()| trailing(input));
    if matches!(result, Err(Stop::Damaged(_) | Stop::Trailing(_) | Stop::Cut)) {
        // A bare stream has no marker, and most texts decode to nonsense for a while. So only a
        // complete stream is accepted.
        output.clear();
    }
    result
}

/// Checks the zlib header of RFC 1950 section 2.2: method 8, and a checksum over the first two
/// bytes.
pub(super) fn is_zlib(input: &[u8]) -> bool {
    input
        .first_chunk()
        .is_some_and(|head| head[0] & 0x0f == 8 && u16::from_be_bytes(*head).is_multiple_of(31))
}

/// Decodes RFC 8878 frames in sequence, and passes over skippable frames.
fn zstd(input: &[u8], output: &mut Vec<u8>, limit: usize) -> Result<(), Stop> {
    let damaged = |error: io::Error| Stop::Damaged(error.to_string());
    let mut decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(damaged)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(damaged)?;
    pump(decoder, output, limit)
}

fn trailing(rest: &[u8]) -> Result<(), Stop> {
    if rest.iter().all(|&byte| byte == 0) { Ok(()) } else { Err(Stop::Trailing(rest.len())) }
}

fn pump(mut reader: impl Read, output: &mut Vec<u8>, limit: usize) -> Result<(), Stop> {
    loop {
        let filled = output.len();
        if filled >= limit {
            // A further byte distinguishes a longer body from a body of exactly this length.
            return match reader.read(&mut [0]) {
                Ok(0) => Ok(()),
                Ok(_) => Err(Stop::Limit),
                Err(error) => Err(stop(&error)),
            };
        }
        output.resize(limit.min(filled + STEP), 0);
        let result = reader.read(&mut output[filled..]);
        output.truncate(filled + result.as_ref().map_or(0, |&read| read));
        match result {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(stop(&error)),
        }
    }
}

fn stop(error: &io::Error) -> Stop {
    match error.kind() {
        ErrorKind::UnexpectedEof => Stop::Cut,
        _ => Stop::Damaged(error.to_string()),
    }
}
