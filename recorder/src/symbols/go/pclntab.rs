//! The table of functions that each Go program carries for its stack traces, stripped or not:
//! `runtime.pclntab`, read by the names of functions.
//!
//! There are three headers: that of Go 1.16 and 1.17, which has absolute addresses; that of 1.18,
//! with distances from the start of the code; and that of 1.20, the same but for the magic. Go 1.26
//! and later omit the start of the code; then only the module's data has it. `debug/gosym` is the
//! reference.

use std::ops::Range;

use object::read::ReadRef;

use super::image::{Image, half_word_at, word_at};

/// Names of the section, in programs at fixed and at any addresses.
const SECTIONS: [&str; 2] = [".gopclntab", ".data.rel.ro.gopclntab"];
/// The linker aligns the table by this, and linkers that put it into a section of their own keep
/// the alignment.
const ALIGNMENT: usize = 8;

/// Follows the magic: two bytes of padding, the size of the smallest instruction, that of a
/// pointer.
const AMD64: [u8; 4] = [0, 0, 1, 8];

/// Places in the header.
const COUNT: usize = 8;
const TEXT_START: usize = 24;

/// Places in `runtime.moduledata`, Go 1.18 to 1.27: the address of the table, those of the first
/// function and of the code.
const MODULE_FIRST: u64 = 160;
const MODULE_TEXT: u64 = 176;

/// No program has more functions.
const COUNT_MAX: u64 = 1 << 24;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Go116,
    Go118,
}

impl Format {
    fn of(bytes: &[u8]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk()?;
        if !rest.starts_with(&AMD64) {
            return None;
        }
        match u32::from_le_bytes(*magic) {
            0xffff_fffa => Some(Self::Go116),
            0xffff_fff0 | 0xffff_fff1 => Some(Self::Go118),
            _ => None,
        }
    }

    /// Returns the places in the header: the offsets of the names, and of the functions.
    fn offsets(self) -> (usize, usize) {
        match self {
            Self::Go116 => (24, 56),
            Self::Go118 => (32, 64),
        }
    }

    /// Returns the size of a field of the table of functions, which has two fields for each
    /// function.
    fn field_size(self) -> usize {
        match self {
            Self::Go116 => 8,
            Self::Go118 => 4,
        }
    }
}

/// The table.
#[derive(Debug)]
pub(super) struct FunctionTable<'data> {
    format: Format,
    address: u64,
    bytes: &'data [u8],
    count: usize,
    names: &'data [u8],
    /// The pairs of start and place, and then, at those places, the data of each function.
    functions: &'data [u8],
    functions_address: u64,
}

impl<'data> FunctionTable<'data> {
    /// Finds the table: by its section, or by searching for a consistent table.
    pub(super) fn find(image: &Image<'data, impl ReadRef<'data>>) -> Option<Self> {
        if let Some(section) = image.section(&SECTIONS) {
            return Self::parse(section.start, image.bytes_from(section.start)?);
        }
        image.segments().iter().find_map(|segment| {
            let bytes = image.bytes(segment.addresses.clone())?;
            let places = (0..bytes.len()).step_by(ALIGNMENT);
            let mut found = places.filter(|&at| Format::of(&bytes[at..]).is_some());
            found.find_map(|at| Self::parse(segment.addresses.start + at as u64, &bytes[at..]))
        })
    }

    fn parse(address: u64, bytes: &'data [u8]) -> Option<Self> {
        let format = Format::of(bytes)?;
        let (names, functions) = format.offsets();
        let offset = |at| usize::try_from(word_at(bytes, at)?).ok();
        let names = offset(names)?;
        let functions = offset(functions)?;
        let count = word_at(bytes, COUNT).filter(|&count| count > 0 && count < COUNT_MAX)?;
        let table = Self {
            format,
            address,
            bytes,
            count: usize::try_from(count).ok()?,
            names: bytes.get(names..)?,
            functions: bytes.get(functions..)?,
            functions_address: address.checked_add(functions as u64)?,
        };
        // Names are in the order of the functions, and the first is never empty.
        table.name(0).filter(|name| !name.is_empty()).map(|_| table)
    }

    /// Returns whether the program may be older than the register ABI: 1.16 has the header of 1.17.
    pub(super) fn may_be_go116(&self) -> bool {
        self.format == Format::Go116
    }

    /// Returns the addresses of the functions with these names, each up to the beginning of the
    /// next.
    pub(super) fn addresses<const N: usize>(
        &self,
        image: &Image<'data, impl ReadRef<'data>>,
        names: [&str; N],
    ) -> Option<[Option<Range<u64>>; N]> {
        let text = match self.format {
            Format::Go116 => 0,
            Format::Go118 => self.text_start(image)?,
        };
        let mut found = [const { None }; N];
        for index in 0..self.count {
            let Some(name) = self.name(index) else { continue };
            if let Some(place) = names.iter().position(|wanted| wanted.as_bytes() == name) {
                let start = text.checked_add(self.start(image, index)?)?;
                let end = text.checked_add(self.start(image, index + 1)?)?;
                found[place] = Some(start..end);
            }
        }
        Some(found)
    }

    /// Returns the beginning of a function; after the last, its end.
    fn start(&self, image: &Image<'data, impl ReadRef<'data>>, index: usize) -> Option<u64> {
        let at = 2 * index * self.format.field_size();
        match self.format {
            Format::Go116 => image.word(self.functions_address + at as u64),
            Format::Go118 => half_word_at(self.functions, at).map(u64::from),
        }
    }

    fn name(&self, index: usize) -> Option<&'data [u8]> {
        let size = self.format.field_size();
        let at = 2 * index * size + size;
        let place = match self.format {
            Format::Go116 => usize::try_from(word_at(self.functions, at)?).ok()?,
            Format::Go118 => half_word_at(self.functions, at)? as usize,
        };
        // The start again, and the place of the name.
        let name = half_word_at(self.functions, place.checked_add(size)?)?;
        self.names.get(name as usize..)?.split(|&byte| byte == 0).next()
    }

    /// Returns the beginning of the code: from the data of the module, or from the header if it
    /// still has it.
    fn text_start(&self, image: &Image<'data, impl ReadRef<'data>>) -> Option<u64> {
        let in_header = word_at(self.bytes, TEXT_START).filter(|&text| text != 0);
        let first = u64::from(half_word_at(self.functions, 0)?);
        image.places_of(self.address).into_iter().find_map(|module| {
            let text = image.word(module.checked_add(MODULE_TEXT)?)?;
            let holds_together = image.word(module + MODULE_FIRST)? == text.checked_add(first)?
                && in_header.is_none_or(|in_header| in_header == text);
            holds_together.then_some(text)
        })
    }
}
