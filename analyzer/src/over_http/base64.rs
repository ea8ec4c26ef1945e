//! Undoes base64 (RFC 4648 section 4) while it comes.
//!
//! Padding may stand anywhere, and a new text begins behind it: gRPC-Web encodes what it has, again
//! and again.

/// Decodes base64 in pieces.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// Values of the characters of a group that is not whole, in the lowest bits.
    bits: u32,
    /// How many characters of the group were seen, padding included.
    seen: u8,
    /// How many of these were padding.
    padding: u8,
}

/// This is no base64.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invalid;

impl Decoder {
    /// Decodes as far as groups are whole, and up to what is no base64. Nothing that follows that
    /// can be decoded.
    pub(super) fn push(&mut self, text: &[u8]) -> (Vec<u8>, Result<(), Invalid>) {
        let mut decoded = Vec::with_capacity(text.len() / 4 * 3 + 3);
        for &character in text {
            let value = match value(character) {
                Some(value) if self.padding == 0 => value,
                None if character == b'=' && self.seen >= 2 => {
                    self.padding += 1;
                    0
                }
                _ => return (decoded, Err(Invalid)),
            };
            self.bits = self.bits << 6 | value;
            self.seen += 1;
            if self.seen == 4 {
                let [_, octets @ ..] = self.bits.to_be_bytes();
                decoded.extend_from_slice(&octets[..3 - usize::from(self.padding)]);
                *self = Self::default();
            }
        }
        (decoded, Ok(()))
    }

    /// It would not be whole if it ended here.
    pub(super) fn is_within_group(&self) -> bool {
        self.seen > 0
    }
}

fn value(character: u8) -> Option<u32> {
    let value = match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(value.into())
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, Engine};

    use super::*;

    #[test]
    fn texts_behind_one_another_are_decoded_however_they_are_split() {
        let parts: Vec<Vec<u8>> =
            (0..70).map(|len| (0..len).map(|n| n ^ len << 1).collect()).collect();
        let text: String = parts.iter().map(|part| BASE64_STANDARD.encode(part)).collect();
        for len in 1..9 {
            let mut decoder = Decoder::default();
            let pieces = text.as_bytes().chunks(len);
            let decoded: Vec<u8> = pieces.flat_map(|piece| decoder.push(piece).0).collect();
            assert_eq!(decoded, parts.concat());
            assert!(!decoder.is_within_group());
        }
    }

    #[test]
    fn what_is_no_base64_is_told() {
        for text in ["AAA\n", "=AAA", "A===", "AA=A", "AAA-", "AA==A=", "AAAA===="] {
            let mut decoder = Decoder::default();
            assert_eq!(decoder.push(text.as_bytes()).1, Err(Invalid), "{text}");
        }
        let mut decoder = Decoder::default();
        assert_eq!(decoder.push(b"AAAAA"), (vec![0; 3], Ok(())));
        assert!(decoder.is_within_group());
    }

    #[test]
    fn what_comes_before_damage_is_decoded() {
        assert_eq!(Decoder::default().push(b"AAAA\n"), (vec![0; 3], Err(Invalid)));
    }
}
