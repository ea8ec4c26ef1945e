//! The version of Go that built a program, from the information that the linker leaves even in a
//! stripped program (`debug/buildinfo` is the reference).

use object::read::ReadRef;

use super::image::Image;

/// Begins the build information, on a multiple of 16.
const MAGIC: &[u8] = b"\xff Go buildinf:";
const ALIGNMENT: usize = 16;
/// Places after the magic.
const FLAGS: usize = 15;
const VERSION_POINTER: usize = 16;
const VERSION_TEXT: usize = 32;
/// A flag, since Go 1.18: the texts follow, instead of pointers to them.
const TEXTS_FOLLOW: u8 = 2;
/// Longer than any version.
const VERSION_MAX: u64 = 200;

/// A version of Go 1.x.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    /// The x.
    pub(crate) minor: u32,
}

impl Version {
    /// Parses `go1.22.3`, with or without a suffix, or `devel go1.23-0123abc`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once("go1.")?;
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        Some(Self { minor: digits.parse().ok()? })
    }

    /// Returns whether the program was built by a release, whose types are known.
    fn is_release(text: &str) -> bool {
        text.starts_with("go1.")
    }
}

/// Returns the version of a program, if it has one and a release built it.
pub(super) fn version<'data>(image: &Image<'data, impl ReadRef<'data>>) -> Option<Version> {
    let text = version_text(image)?;
    Version::parse(&text).filter(|_| Version::is_release(&text))
}

fn version_text<'data>(image: &Image<'data, impl ReadRef<'data>>) -> Option<String> {
    let (address, bytes) = find(image)?;
    let flags = *bytes.get(FLAGS)?;
    let text = if flags & TEXTS_FOLLOW != 0 {
        let (length, text) = varint(bytes.get(VERSION_TEXT..)?)?;
        text.get(..usize::try_from(length.min(VERSION_MAX)).ok()?)?
    } else {
        let string = image.word(address + VERSION_POINTER as u64)?;
        let start = image.word(string)?;
        let length = image.word(string.checked_add(8)?)?.min(VERSION_MAX);
        image.bytes(start..start.checked_add(length)?)?
    };
    std::str::from_utf8(text).ok().map(str::to_owned)
}

/// Returns the build information, with its address.
fn find<'data>(image: &Image<'data, impl ReadRef<'data>>) -> Option<(u64, &'data [u8])> {
    if let Some(section) = image.section(&[".go.buildinfo"]) {
        let bytes = image.bytes_from(section.start)?;
        return bytes.starts_with(MAGIC).then_some((section.start, bytes));
    }
    image.segments().iter().filter(|segment| !segment.executable).find_map(|segment| {
        let bytes = image.bytes(segment.addresses.clone())?;
        let at = (0..bytes.len()).step_by(ALIGNMENT).find(|&at| bytes[at..].starts_with(MAGIC))?;
        Some((segment.addresses.start + at as u64, &bytes[at..]))
    })
}

/// Returns a number of seven bits a byte, low bits first, and the bytes that follow.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (n, &byte) in bytes.iter().enumerate().take(9) {
        value |= u64::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[n + 1..]));
        }
    }
    None
}
