//! Decodes base64 (RFC 4648 section 4) in pieces of any length.
//!
//! Padding may occur anywhere, and another text begins after it: gRPC-Web encodes each piece
//! separately. The crate `base64` decodes complete groups of four characters; this module finds
//! them.

use ::base64::Engine;
use ::base64::alphabet::STANDARD;
use ::base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

/// Some encoders leave bits after the last octet that are not zero.
const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Decodes base64 in pieces.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The beginning of a group.
    group: [u8; 4],
    /// Length of the beginning.
    seen: usize,
}

/// The text is not base64.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invalid;

impl Decoder {
    /// Decodes complete groups, up to the first invalid character. Nothing after an invalid
    /// character can be decoded.
    pub(super) fn push(&mut self, text: &[u8]) -> (Vec<u8>, Result<(), Invalid>) {
        let mut decoded = Vec::with_capacity(text.len() / 4 * 3 + 3);
        let result = self.decode(text, &mut decoded);
        (decoded, result)
    }

    fn decode(&mut self, text: &[u8], decoded: &mut Vec<u8>) -> Result<(), Invalid> {
        let mut rest = text;
        while !rest.is_empty() {
            if self.seen == 0 {
                let symbols = rest.iter().take_while(|&&character| is_symbol(character)).count();
                let (groups, after) = rest.split_at(symbols / 4 * 4);
                ENGINE.decode_vec(groups, decoded).map_err(|_| Invalid)?;
                rest = after;
            }
            let Some((&character, after)) = rest.split_first() else { break };
            self.add(character, decoded)?;
            rest = after;
        }
        Ok(())
    }

    /// Adds a character to the group, and decodes the group if it is complete.
    fn add(&mut self, character: u8, decoded: &mut Vec<u8>) -> Result<(), Invalid> {
        let before = &self.group[..self.seen];
        let fits = match character {
            b'=' => self.seen >= 2,
            _ => is_symbol(character) && !before.contains(&b'='),
        };
        if !fits {
            return Err(Invalid);
        }
        self.group[self.seen] = character;
        self.seen += 1;
        if self.seen == self.group.len() {
            self.seen = 0;
            ENGINE.decode_vec(self.group, decoded).map_err(|_| Invalid)?;
        }
        Ok(())
    }

    /// Returns whether the text ends within a group.
    pub(super) fn is_within_group(&self) -> bool {
        self.seen > 0
    }
}

fn is_symbol(character: u8) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, b'+' | b'/')
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, Engine};

    use super::*;

    #[test]
    fn consecutive_texts_are_decoded_however_they_are_split() {
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
    fn invalid_base64_is_reported() {
        for text in ["AAA\n", "=AAA", "A===", "AA=A", "AAA-", "AA==A=", "AAAA===="] {
            let mut decoder = Decoder::default();
            assert_eq!(decoder.push(text.as_bytes()).1, Err(Invalid), "{text}");
        }
        let mut decoder = Decoder::default();
        assert_eq!(decoder.push(b"AAAAA"), (vec![0; 3], Ok(())));
        assert!(decoder.is_within_group());
    }

    #[test]
    fn text_before_damage_is_decoded() {
        assert_eq!(Decoder::default().push(b"AAAA\n"), (vec![0; 3], Err(Invalid)));
    }
}
