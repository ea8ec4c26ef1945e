//! The recorder's own process, and the settings of the kernel it runs on.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::{fs, io};

use super::file;

/// The program of this process, even if it was deleted or replaced.
pub(crate) const EXECUTABLE: &str = "/proc/self/exe";

/// The path by which a process reopens the file of its standard input.
pub(crate) const STDIN: &str = "/proc/self/fd/0";

/// Returns the path by which this process, and the kernel on its behalf, opens exactly this open
/// file.
pub(crate) fn path_of(file: BorrowedFd<'_>) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// Returns a field of `status`, such as `CapEff`, without the blanks around it.
pub(crate) fn status(field: &str) -> Option<String> {
    super::processes::status_field(&file::read("/proc/self/status").ok()?, field)
}

/// Returns the inode of this process's namespace of a kind, such as `pid`.
///
/// # Errors
/// `/proc` is not mounted.
pub(crate) fn namespace_inode(kind: &str) -> io::Result<u64> {
    Ok(fs::metadata(format!("/proc/self/ns/{kind}"))?.ino())
}

/// Returns the offsets of this process's time namespace, a line for each clock; empty before Linux
/// 5.6, which has no such namespaces.
pub(crate) fn time_offsets() -> String {
    file::read("/proc/self/timens_offsets").unwrap_or_default()
}

/// Returns a setting of the kernel, such as `osrelease`; empty if it cannot be read.
pub(crate) fn kernel_setting(name: &str) -> String {
    let text = file::read(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_status_field_has_a_value() {
        assert_eq!(status("Tgid"), Some(std::process::id().to_string()));
        assert_eq!(status("NoSuchField"), None);
    }

    #[test]
    fn an_open_file_has_a_path() {
        let file = tempfile::tempfile().unwrap();
        let by_path = fs::metadata(path_of(file.as_fd())).unwrap();
        assert_eq!(by_path.ino(), file.metadata().unwrap().ino());
    }

    #[test]
    fn the_kernel_has_a_release() {
        assert!(kernel_setting("osrelease").starts_with(|c: char| c.is_ascii_digit()));
        assert_eq!(kernel_setting("no_such_setting"), "");
    }
}
