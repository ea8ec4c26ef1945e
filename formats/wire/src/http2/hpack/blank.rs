//! Overwrites parts of a string in a field block, in place.
//!
//! The length of the string stays, encoded and decoded. So all frames and offsets stay as they are,
//! and so does the table: an entry counts its decoded octets (section 4.1), and an index that
//! refers to the string later returns the overwritten string.
//!
//! A Huffman string is overwritten by symbols whose codes add up to the same number of bits. The
//! new string therefore reveals only the length of the old string and the number of bits of its
//! code.

use std::ops::Range;

use super::huffman;

/// The octet that replaces secrets.
const FILL: u8 = b'*';

/// Overwrites `ranges` of `value` in `encoded`, its encoded form in the block. Parts of ranges
/// beyond its end are ignored.
pub fn blank(encoded: &mut [u8], huffman: bool, value: &[u8], ranges: &[Range<usize>]) {
    let within = |len: usize| {
        ranges
            .iter()
            .map(move |range| range.start.min(len)..range.end.min(len))
            .filter(|r| !r.is_empty())
    };
    if !huffman {
        let len = encoded.len();
        return within(len).for_each(|range| encoded[range].fill(FILL));
    }
    let mut places: Vec<usize> = within(value.len()).flatten().collect();
    places.sort_unstable();
    places.dedup();
    let mut written = value.to_vec();
    for (place, symbol) in places.iter().zip(fill(places.iter().map(|&place| value[place]))) {
        written[*place] = symbol;
    }
    let mut code = Vec::with_capacity(encoded.len());
    huffman::encode(&written, &mut code);
    // The same number of bits, so the same number of bytes.
    encoded.copy_from_slice(&code);
}

/// Returns symbols whose codes together have as many bits as the codes of `octets`.
fn fill(octets: impl Iterator<Item = u8>) -> Vec<u8> {
    let mut lengths: Vec<usize> = octets.map(huffman::len_bits).collect();
    let (bits, count) = (lengths.iter().sum::<usize>(), lengths.len());
    let longest = huffman::len_bits(FILL);
    if bits <= longest * count {
        // Codes of five to eight bits, as evenly as possible.
        let shorter = bits.checked_div(count).unwrap_or(0);
        let longer = bits - shorter * count;
        lengths = (0..count).map(|at| shorter + usize::from(at < longer)).collect();
    } else {
        // Octets that are not text: codes of the same lengths, in another order.
        lengths.sort_unstable_by(|a, b| b.cmp(a));
    }
    lengths.into_iter().map(symbol).collect()
}

/// Returns a symbol with a code of this length, a printable symbol if possible.
fn symbol(len_bits: usize) -> u8 {
    match len_bits {
        5 => b'0',
        6 => b'-',
        7 => b'x',
        8 => FILL,
        _ => (b'!'..=b'~')
            .chain(0x80..=0xff)
            .chain(0..b'!')
            .find(|&octet| huffman::len_bits(octet) == len_bits)
            .unwrap_or(FILL),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::single_range_in_vec_init, reason = "they are lists of ranges")]

    use super::*;

    fn check(value: &[u8], ranges: &[Range<usize>]) -> Vec<u8> {
        let mut encoded = Vec::new();
        huffman::encode(value, &mut encoded);
        let before = encoded.len();
        blank(&mut encoded, true, value, ranges);
        assert_eq!(encoded.len(), before);
        let mut decoded = Vec::new();
        huffman::decode(&encoded, &mut decoded).unwrap();
        assert_eq!(decoded.len(), value.len());
        for (at, (new, old)) in decoded.iter().zip(value).enumerate() {
            if !ranges.iter().any(|range| range.contains(&at)) {
                assert_eq!(new, old, "{at}");
            }
        }
        decoded
    }

    #[test]
    fn strings_of_any_octets_keep_both_their_lengths() {
        let all: Vec<u8> = (0..=255).collect();
        for start in 0..all.len() {
            for len in [0, 1, 2, 3, 7, 20, 64, 255] {
                let value = &all[start..(start + len).min(all.len())];
                check(value, &[0..value.len()]);
                check(value, &[1..3, 2..5, 9..4000]);
            }
        }
        assert_eq!(check(b"", &[0..3]), b"");
    }

    #[test]
    fn no_part_of_the_text_is_left() {
        let shown = check(b"Bearer s3cr3t-T0ken.value", &[7..25]);
        assert!(shown.starts_with(b"Bearer "));
        assert!(shown[7..].iter().all(|octet| b"0-x*".contains(octet)), "{shown:?}");
        let mut plain = *b"secret";
        blank(&mut plain, false, b"secret", &[2..9]);
        assert_eq!(&plain, b"se****");
    }
}
