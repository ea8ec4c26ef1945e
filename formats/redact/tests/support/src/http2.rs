//! Frames and field blocks of HTTP/2.

use sslrec_wire::http2::hpack::encode_huffman;

/// A literal of incremental indexing (RFC 7541 section 6.2.1).
pub const INDEXED: u8 = 0x40;

/// A literal without indexing (section 6.2.2).
pub const NOT_INDEXED: u8 = 0;

/// A literal that is never indexed (section 6.2.3).
pub const NEVER_INDEXED: u8 = 0x10;

/// Returns a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Appends an integer (section 5.1), whose prefix has this number of bits.
pub fn integer(pattern: u8, prefix: u32, value: usize, block: &mut Vec<u8>) {
    let most = (1 << prefix) - 1;
    if value < most {
        return block.push(pattern | value as u8);
    }
    block.push(pattern | most as u8);
    let mut rest = value - most;
    while rest >= 128 {
        block.push(0x80 | (rest % 128) as u8);
        rest /= 128;
    }
    block.push(rest as u8);
}

/// Appends a string (section 5.2).
pub fn string(text: &[u8], huffman: bool, block: &mut Vec<u8>) {
    let mut code = Vec::new();
    if huffman {
        encode_huffman(text, &mut code);
    } else {
        code.extend(text);
    }
    integer(if huffman { 0x80 } else { 0 }, 7, code.len(), block);
    block.extend(code);
}

/// Returns a literal with a new name. Each of the two strings is in Huffman code or not.
pub fn literal(form: u8, name: (&str, bool), value: (&[u8], bool)) -> Vec<u8> {
    let mut block = vec![form];
    string(name.0.as_bytes(), name.1, &mut block);
    string(value.0, value.1, &mut block);
    block
}
