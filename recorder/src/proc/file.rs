//! Bounded reads of the files in `/proc`.
//!
//! Their sizes depend on other processes. A short file is read at once, and its bound makes a
//! larger file an error; a table is read line by line, so that the memory is that of one line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::path::Path;

/// Bytes of a short file. The longest is `status` with its line of up to 65,536 group ids.
const SHORT_MAX: u64 = 1 << 20;

/// Bytes of a line in a table. The longest is a mapping: a path of 4095 bytes, in which the kernel
/// writes each line feed as four bytes.
const LINE_MAX: u64 = 32 << 10;

/// Reads a short file. Bytes that are not UTF-8 are replaced.
///
/// # Errors
/// The file cannot be read, or is larger than 1 MiB.
pub(super) fn read(path: impl AsRef<Path>) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(SHORT_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SHORT_MAX {
        return Err(too_long());
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Calls `visit` with each line of a table, without its line feed, until it breaks.
///
/// # Errors
/// The file cannot be read, or a line is longer than 32 KiB.
pub(super) fn each_line(
    path: impl AsRef<Path>,
    visit: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> io::Result<()> {
    lines_of(BufReader::new(File::open(path)?), visit)
}

fn lines_of(
    mut file: impl BufRead,
    mut visit: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        (&mut file).take(LINE_MAX + 1).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        if line.len() as u64 > LINE_MAX {
            return Err(too_long());
        }
        if visit(line.strip_suffix(b"\n").unwrap_or(&line)).is_break() {
            return Ok(());
        }
    }
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "longer than any file of this kind")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        lines_of(bytes, |line| {
            lines.push(String::from_utf8_lossy(line).into_owned());
            ControlFlow::Continue(())
        })?;
        Ok(lines)
    }

    #[test]
    fn a_table_is_read_line_by_line() {
        assert_eq!(lines(b"a\n\nb\n").unwrap(), ["a", "", "b"]);
        assert_eq!(lines(b"no line feed").unwrap(), ["no line feed"]);
        assert!(lines(b"").unwrap().is_empty());
    }

    #[test]
    fn a_break_ends_the_reading() {
        let mut count = 0;
        lines_of(&b"a\nb\nc\n"[..], |line| {
            count += 1;
            if line == b"b" { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
        assert_eq!(count, 2);
    }

    #[test]
    fn a_line_beyond_the_bound_is_an_error() {
        let mut line = vec![b'x'; LINE_MAX as usize - 1];
        line.push(b'\n');
        assert_eq!(lines(&line).unwrap().len(), 1);
        line.insert(0, b'x');
        assert_eq!(lines(&line).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_short_file_beyond_the_bound_is_an_error() {
        assert_eq!(read("/dev/zero").unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(read("/dev/null").unwrap(), "");
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("comm");
        std::fs::write(&path, b"a\xffb\n").unwrap();
        assert_eq!(read(&path).unwrap(), "a\u{fffd}b\n");
    }
}
