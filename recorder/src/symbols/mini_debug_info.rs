//! The symbols that distributions leave in stripped programs for the sake of backtraces: an ELF
//! file within the section `.gnu_debugdata`, compressed by xz. It has the functions that are in no
//! other table, at the same addresses.

use std::io::{self, BufReader, Write};

use object::{Object, ObjectSection};

/// A program of several hundred megabytes has tables of some dozen.
const LEN_MAX: usize = 256 << 20;

/// The file within the file, or `None` if it has none that can be read.
pub(crate) fn of<'data>(elf: &impl Object<'data>) -> Option<Vec<u8>> {
    let section = elf.section_by_name(".gnu_debugdata")?;
    let mut output = Capped(Vec::new());
    lzma_rs::xz_decompress(&mut BufReader::new(section.data().ok()?), &mut output).ok()?;
    Some(output.0)
}

/// Takes no more than [`LEN_MAX`] bytes: a small section can claim to be a large file.
struct Capped(Vec<u8>);

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > LEN_MAX - self.0.len() {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "too many symbols"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
