//! The symbols that distributions leave in stripped programs for backtraces: an ELF file within the
//! section `.gnu_debugdata`, compressed by xz. It contains the functions that are in no other
//! table, at the same addresses.

use std::io::Read;

use lzma_rust2::XzReader;
use object::{Object, ObjectSection};

/// Memory limit of decompression, in KiB. The largest dictionary that a level of xz(1) uses is 64
/// MiB.
const MEMORY_MAX_KIB: u32 = 96 << 10;

/// The largest file within a file. A program of several hundred megabytes has tables of a few
/// dozen.
const LEN_MAX: u64 = 64 << 20;

/// Returns the file within the file, or `None` if it has none that can be read.
pub(crate) fn of<'data>(elf: &impl Object<'data>) -> Option<Vec<u8>> {
    let section = elf.section_by_name(".gnu_debugdata")?;
    decompress(section.data().ok()?)
}

/// Returns `None` for damaged data, or data larger than the bounds: a small section can claim to be
/// a large file.
fn decompress(section: &[u8]) -> Option<Vec<u8>> {
    let mut output = Vec::new();
    let reader = XzReader::new_mem_limit(section, false, MEMORY_MAX_KIB);
    let read = reader.take(LEN_MAX + 1).read_to_end(&mut output).ok()?;
    (read as u64 <= LEN_MAX).then_some(output)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    /// Returns a number of equal bytes, compressed by xz(1).
    fn compressed(len: usize, options: &[&str]) -> Vec<u8> {
        let mut xz = Command::new("xz");
        xz.args(options).arg("--stdout").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut xz = xz.spawn().unwrap();
        let mut input = xz.stdin.take().unwrap();
        let writer = std::thread::spawn(move || {
            let chunk = vec![b'x'; 1 << 20];
            let mut left = len;
            while left > 0 {
                let part = left.min(chunk.len());
                input.write_all(&chunk[..part]).unwrap();
                left -= part;
            }
        });
        let output = xz.wait_with_output().unwrap();
        writer.join().unwrap();
        assert!(output.status.success());
        output.stdout
    }

    #[test]
    fn a_section_of_xz_is_decompressed() {
        for options in [&["-6"][..], &["-9", "--check=crc32"], &["-0", "--check=sha256"]] {
            let section = compressed(1 << 20, options);
            let bytes = decompress(&section).unwrap_or_else(|| panic!("{options:?}"));
            assert!(bytes == vec![b'x'; 1 << 20], "{options:?}");
            assert_eq!(decompress(&section[..section.len() - 1]), None, "truncated");
        }
        assert_eq!(decompress(b"not xz"), None);
        assert_eq!(decompress(b""), None);
    }

    #[test]
    fn a_file_beyond_the_bound_is_refused() {
        assert!(decompress(&compressed(LEN_MAX as usize, &["-0"])).is_some());
        assert_eq!(decompress(&compressed(LEN_MAX as usize + 1, &["-0"])), None);
    }

    #[test]
    fn a_dictionary_beyond_the_bound_is_refused() {
        let section = compressed(1000, &["--lzma2=dict=1GiB"]);
        assert_eq!(decompress(&section), None);
    }
}
