//! An ELF file as the memory of a process that maps it, as far as Go's tables need it.
//!
//! Linker and strip may remove section headers, and in position-independent programs the file has
//! zeros where relocations put addresses. So segments and the dynamic section are used here;
//! sections only help if present. Only little-endian 64-bit files are read.

use std::cell::OnceCell;
use std::ops::Range;

use object::LittleEndian as LE;
use object::elf;
use object::read::elf::{Dyn, FileHeader, ProgramHeader, Rela, SectionHeader};
use object::read::{ReadRef, Result};

type Header = elf::FileHeader64<LE>;

/// Relocations of this type put an address of the file itself somewhere.
const RELATIVE: u32 = elf::R_X86_64_RELATIVE.0;

/// A part of the file that is mapped.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    /// Addresses, as far as the file has bytes for them.
    pub(super) addresses: Range<u64>,
    offset: u64,
    pub(super) executable: bool,
}

/// A named part of the file that is mapped.
#[derive(Debug, Clone)]
struct Section {
    name: Vec<u8>,
    addresses: Range<u64>,
}

/// The file.
#[derive(Debug)]
pub(super) struct Image<'data, R: ReadRef<'data>> {
    data: R,
    segments: Vec<Segment>,
    sections: Vec<Section>,
    /// Place and size of the table of relocations.
    rela: Option<(u64, u64)>,
    relocations: OnceCell<Vec<(u64, u64)>>,
    phantom: std::marker::PhantomData<&'data ()>,
}

impl<'data, R: ReadRef<'data>> Image<'data, R> {
    /// Reads the headers.
    ///
    /// # Errors
    /// It is not an ELF file of the right kind, or is truncated.
    pub(super) fn parse(data: R) -> Result<Self> {
        let header = Header::parse(data)?;
        let endian = header.endian()?;
        let headers = header.program_headers(endian, data)?;
        let segments = headers.iter().filter(|segment| segment.p_type(endian) == elf::PT_LOAD);
        let segments = segments.map(|segment| {
            let start = segment.p_vaddr(endian);
            Segment {
                addresses: start..start.saturating_add(segment.p_filesz(endian)),
                offset: segment.p_offset(endian),
                executable: segment.p_flags(endian).contains(elf::PF_X),
            }
        });
        let mut image = Self {
            data,
            segments: segments.collect(),
            sections: Vec::new(),
            rela: None,
            relocations: OnceCell::new(),
            phantom: std::marker::PhantomData,
        };
        // A file without section headers, or with broken headers, is still mapped.
        if let Ok(sections) = header.sections(endian, data) {
            for section in sections.iter().filter(|section| section.sh_addr(endian) != 0) {
                let Ok(name) = sections.section_name(endian, section) else { continue };
                let start = section.sh_addr(endian);
                let addresses = start..start.saturating_add(section.sh_size(endian));
                image.sections.push(Section { name: name.to_vec(), addresses });
            }
        }
        for segment in headers {
            let Some(entries) = segment.dynamic(endian, data)? else { continue };
            let value = |tag| {
                entries.iter().find(|entry| entry.tag(endian) == tag).map(|entry| entry.val(endian))
            };
            image.rela = value(elf::DT_RELA).zip(value(elf::DT_RELASZ));
        }
        Ok(image)
    }

    /// Returns the parts of the file that are mapped.
    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Returns whether the names of its parts are still there.
    pub(super) fn has_sections(&self) -> bool {
        !self.sections.is_empty()
    }

    /// Returns the addresses of the first section with one of these names.
    pub(super) fn section(&self, names: &[&str]) -> Option<Range<u64>> {
        let is_named = |section: &&Section| names.iter().any(|n| n.as_bytes() == section.name);
        self.sections.iter().find(is_named).map(|section| section.addresses.clone())
    }

    /// Returns the file's bytes for these addresses, before relocation.
    pub(super) fn bytes(&self, addresses: Range<u64>) -> Option<&'data [u8]> {
        let size = addresses.end.checked_sub(addresses.start)?;
        self.data.read_bytes_at(self.file_offset(addresses.start)?, size).ok().filter(|_| {
            self.segments.iter().any(|segment| {
                segment.addresses.contains(&addresses.start)
                    && addresses.end <= segment.addresses.end
            })
        })
    }

    /// Returns the bytes from an address to the end of its segment.
    pub(super) fn bytes_from(&self, address: u64) -> Option<&'data [u8]> {
        let segment = self.segment_of(address)?;
        self.bytes(address..segment.addresses.end)
    }

    /// Returns the place in the file from which an address is mapped.
    pub(super) fn file_offset(&self, address: u64) -> Option<u64> {
        let segment = self.segment_of(address)?;
        segment.offset.checked_add(address - segment.addresses.start)
    }

    /// Returns the word at an address, after relocation.
    pub(super) fn word(&self, address: u64) -> Option<u64> {
        let relocations = self.relocations();
        if let Ok(index) = relocations.binary_search_by_key(&address, |&(place, _)| place) {
            return Some(relocations[index].1);
        }
        word_at(self.bytes(address..address.checked_add(8)?)?, 0)
    }

    /// Returns the aligned addresses at which this word is, after relocation, outside of code.
    pub(super) fn places_of(&self, word: u64) -> Vec<u64> {
        let relocated = self.relocations().iter().filter(|&&(_, value)| value == word);
        let mut places: Vec<u64> = relocated.map(|&(place, _)| place).collect();
        for segment in self.segments.iter().filter(|segment| !segment.executable) {
            let Some(bytes) = self.bytes(segment.addresses.clone()) else { continue };
            let first = segment.addresses.start.next_multiple_of(8) - segment.addresses.start;
            let Some(aligned) = bytes.get(first as usize..) else { continue };
            let found = aligned.chunks_exact(8).enumerate();
            let found = found.filter(|(_, chunk)| **chunk == word.to_le_bytes());
            places.extend(found.map(|(n, _)| segment.addresses.start + first + 8 * n as u64));
        }
        places
    }

    fn segment_of(&self, address: u64) -> Option<&Segment> {
        self.segments.iter().find(|segment| segment.addresses.contains(&address))
    }

    /// Returns the places and values of relocations, in the order of the places.
    fn relocations(&self) -> &[(u64, u64)] {
        self.relocations.get_or_init(|| {
            let table = self.rela.and_then(|(address, size)| {
                let entry_size = size_of::<elf::Rela64<LE>>() as u64;
                let count = usize::try_from(size / entry_size).ok()?;
                let offset = self.file_offset(address)?;
                self.data.read_slice_at::<elf::Rela64<LE>>(offset, count).ok()
            });
            let entries = table.unwrap_or_default().iter();
            let mut relocations: Vec<_> = entries
                .filter(|entry| entry.r_type(LE, false).0 == RELATIVE)
                .map(|entry| (entry.r_offset(LE), entry.r_addend(LE).cast_unsigned()))
                .collect();
            relocations.sort_unstable();
            relocations
        })
    }
}

/// Returns the word at a place in some bytes.
pub(super) fn word_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Returns the half word at a place in some bytes.
pub(super) fn half_word_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
