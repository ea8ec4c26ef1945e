//! The Huffman code of RFC 7541 section 5.2.
//!
//! The code is canonical: codes of the same length are consecutive numbers in the order of their
//! symbols, and longer codes follow shorter codes. So the lengths determine the code, and the
//! tables are computed from them at compile time. Codes of up to nine bits, which includes nearly
//! all contents of headers, take a single look-up.

use super::error::Error;

/// Length of the code of each octet, and of the end of string last (RFC 7541 appendix B).
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
     6, 10, 10, 12, 13,  6,  8, 11, 10, 10,  8, 11,  8,  6,  6,  6,
     5,  5,  5,  6,  6,  6,  6,  6,  6,  6,  7,  8, 15,  6, 12, 10,
    13,  6,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,
     7,  7,  7,  7,  7,  7,  7,  7,  8,  7,  8, 13, 19, 13, 14,  6,
    15,  5,  6,  5,  6,  5,  6,  6,  6,  5,  7,  7,  6,  6,  6,  5,
     6,  7,  6,  5,  5,  6,  7,  7,  7,  7,  7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// The symbol that must not occur in a string.
const END_OF_STRING: u16 = 256;

/// The longest code.
const MAX_LENGTH: usize = 30;

/// Number of bits of the first look-up.
const FIRST_BITS: usize = 9;

/// The tables.
struct Code {
    /// For each value of the first bits, `symbol << 8 | length`; 0 where the code is longer.
    first: [u16; 1 << FIRST_BITS],
    /// For each length, the first code beyond those of this length or less, as the upper bits of
    /// 32.
    beyond: [u32; MAX_LENGTH + 1],
    /// For each length, the difference between the number of a code and its place in `symbols`.
    offset: [u32; MAX_LENGTH + 1],
    /// All symbols in the order of their codes.
    symbols: [u16; 257],
    /// The code of each symbol.
    codes: [u32; 257],
}

static CODE: Code = build();

const fn build() -> Code {
    let mut code = Code {
        first: [0; 1 << FIRST_BITS],
        beyond: [0; MAX_LENGTH + 1],
        offset: [0; MAX_LENGTH + 1],
        symbols: [0; 257],
        codes: [0; 257],
    };
    let (mut next, mut place, mut length) = (0u32, 0, 1);
    while length <= MAX_LENGTH {
        next <<= 1;
        code.offset[length] = next.wrapping_sub(place as u32);
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                code.symbols[place] = symbol as u16;
                code.codes[symbol] = next;
                place += 1;
                if length <= FIRST_BITS {
                    let spare = FIRST_BITS - length;
                    let mut rest = 0;
                    while rest < 1 << spare {
                        let at = (next as usize) << spare | rest;
                        code.first[at] = (symbol as u16) << 8 | length as u16;
                        rest += 1;
                    }
                }
                next += 1;
            }
            symbol += 1;
        }
        // The code is complete, so the end of the last code of 30 bits would be 2^32 here.
        let end = (next as u64) << (32 - length);
        code.beyond[length] = if end > u32::MAX as u64 { u32::MAX } else { end as u32 };
        length += 1;
    }
    code
}

/// Returns symbol and length of a code of more than nine bits at the top of `bits`.
fn long(bits: u64) -> (u16, usize) {
    let top = (bits >> 32) as u32;
    let mut length = FIRST_BITS + 1;
    while length < MAX_LENGTH && top >= CODE.beyond[length] {
        length += 1;
    }
    let place = (top >> (32 - length)).wrapping_sub(CODE.offset[length]);
    (CODE.symbols.get(place as usize).copied().unwrap_or(END_OF_STRING), length)
}

/// Appends the decoded string to `out`.
///
/// # Errors
/// If the string contains the end of string, or is not padded with less than eight one-bits
/// (section 5.2).
pub(super) fn decode(mut code: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    out.reserve(code.len() * 8 / 5);
    // The next bits are at the top; below the first `have` bits are zeros.
    let (mut bits, mut have) = (0u64, 0);
    loop {
        while have <= 56
            && let Some((&octet, rest)) = code.split_first()
        {
            code = rest;
            bits |= u64::from(octet) << (56 - have);
            have += 8;
        }
        // At least six symbols of nine bits are available without more input.
        loop {
            let entry = CODE.first[(bits >> (64 - FIRST_BITS)) as usize];
            let (symbol, length) = match entry {
                0 => long(bits),
                _ => (entry >> 8, usize::from(entry & 0xff)),
            };
            if length > have {
                break;
            }
            let Ok(octet) = u8::try_from(symbol) else { return Err(Error::EndOfString) };
            out.push(octet);
            bits <<= length;
            have -= length;
            if have < MAX_LENGTH {
                break;
            }
        }
        if code.is_empty() && is_padding(bits, have) {
            return Ok(());
        }
        if code.is_empty() && next_length(bits) > have {
            return Err(Error::Padding);
        }
    }
}

fn next_length(bits: u64) -> usize {
    match CODE.first[(bits >> (64 - FIRST_BITS)) as usize] {
        0 => long(bits).1,
        entry => usize::from(entry & 0xff),
    }
}

/// Returns the number of bits of the code of an octet.
pub(super) fn len_bits(octet: u8) -> usize {
    usize::from(LENGTHS[usize::from(octet)])
}

/// Appends the code of a string to `out`, padded as section 5.2 requires.
pub fn encode(octets: &[u8], out: &mut Vec<u8>) {
    // The bits not yet written are at the bottom; there are less than eight between codes.
    let (mut bits, mut have) = (0u64, 0);
    for &octet in octets {
        let length = len_bits(octet);
        bits = bits << length | u64::from(CODE.codes[usize::from(octet)]);
        have += length;
        while have >= 8 {
            have -= 8;
            out.push((bits >> have) as u8);
        }
    }
    if have > 0 {
        out.push((bits << (8 - have)) as u8 | 0xff >> have);
    }
}

/// Returns whether less than eight bits are left, and all of them are set.
fn is_padding(bits: u64, have: usize) -> bool {
    have < 8 && bits == !(u64::MAX.checked_shr(have as u32).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns code and length of a symbol, computed from the tables in another way than in the
    /// decoder.
    fn code_of(symbol: u16) -> (u32, usize) {
        let length = usize::from(LENGTHS[usize::from(symbol)]);
        let place = CODE.symbols.iter().position(|&s| s == symbol).unwrap() as u32;
        (place.wrapping_add(CODE.offset[length]), length)
    }

    fn encode(symbols: &[u16], padding: bool) -> Vec<u8> {
        let mut bits: Vec<bool> = Vec::new();
        for &symbol in symbols {
            let (code, length) = code_of(symbol);
            bits.extend((0..length).rev().map(|bit| code >> bit & 1 == 1));
        }
        while !bits.len().is_multiple_of(8) {
            bits.push(padding);
        }
        let octets = bits.chunks(8);
        octets.map(|octet| octet.iter().fold(0, |n, &bit| n << 1 | u8::from(bit))).collect()
    }

    fn decoded(code: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        decode(code, &mut out).map(|()| out)
    }

    #[test]
    fn codes_are_those_of_rfc_7541_appendix_b() {
        for (symbol, code, length) in [
            (b'0'.into(), 0x0, 5),
            (b'a'.into(), 0x3, 5),
            (b'z'.into(), 0x7b, 7),
            (0, 0x1ff8, 13),
            (10, 0x3fff_fffc, 30),
            (127, 0xfff_fffc, 28),
            (255, 0x3ff_ffee, 26),
            (END_OF_STRING, 0x3fff_ffff, 30),
        ] {
            assert_eq!(code_of(symbol), (code, length), "{symbol}");
        }
    }

    #[test]
    fn encoding_follows_the_tables() {
        for a in 0..=255u8 {
            for b in [0, 10, b'0', b'a', b'*', 200, 255] {
                let mut out = Vec::new();
                super::encode(&[a, b, a], &mut out);
                assert_eq!(out, encode(&[a.into(), b.into(), a.into()], true), "{a} {b}");
            }
        }
    }

    #[test]
    fn each_octet_and_each_pair_round_trips() {
        for a in 0..=255u16 {
            for b in 0..=255u16 {
                let code = encode(&[a, b], true);
                assert_eq!(decoded(&code), Ok(vec![a as u8, b as u8]));
            }
        }
        let all: Vec<u16> = (0..256).chain((0..256).rev()).collect();
        let octets: Vec<u8> = all.iter().map(|&s| s as u8).collect();
        assert_eq!(decoded(&encode(&all, true)), Ok(octets));
        assert_eq!(decoded(b""), Ok(vec![]));
    }

    #[test]
    fn padding_is_less_than_an_octet_of_ones() {
        assert_eq!(decoded(&encode(&[b'a'.into()], false)), Err(Error::Padding));
        assert_eq!(decoded(&[0x1f, 0xff]), Err(Error::Padding));
        assert_eq!(decoded(&[0xff]), Err(Error::Padding));
        assert_eq!(decoded(&[0xff; 3]), Err(Error::Padding));
        // Eight letters of five bits end with an octet; no padding is needed, and eight bits of
        // padding are not allowed.
        let mut whole = encode(&[b'a'.into(); 8], true);
        assert_eq!(decoded(&whole), Ok(b"aaaaaaaa".to_vec()));
        whole.push(0xff);
        assert_eq!(decoded(&whole), Err(Error::Padding));
    }

    #[test]
    fn end_of_string_is_an_error_at_any_place() {
        assert_eq!(decoded(&[0xff; 4]), Err(Error::EndOfString));
        let inside = encode(&[b'a'.into(), END_OF_STRING, b'b'.into()], true);
        assert_eq!(decoded(&inside), Err(Error::EndOfString));
        assert_eq!(decoded(&encode(&[END_OF_STRING], true)), Err(Error::EndOfString));
    }
}
