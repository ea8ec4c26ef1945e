//! Names the lack of file descriptors in error messages.
//!
//! A recording takes a descriptor for each probed file, for each map and program of the kernel
//! side, and before kernel 6.6 for each probe. Any call can fail for lack of them, and the error
//! would otherwise read as if the kernel refused that call.

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// Returns advice on an error, if it is for lack of file descriptors.
pub(crate) fn shortage(error: &anyhow::Error) -> Option<String> {
    if is_caused_by(error, Errno::MFILE) {
        let limit = getrlimit(Resource::Nofile).current;
        let limit = limit.map_or_else(String::new, |limit| format!(" (the limit is {limit})"));
        return Some(format!(
            "out of file descriptors{limit}; raise it with `ulimit -n`, or LimitNOFILE= of systemd"
        ));
    }
    is_caused_by(error, Errno::NFILE).then(|| {
        "the machine is out of file descriptors; raise fs.file-max with sysctl(8)".to_owned()
    })
}

fn is_caused_by(error: &anyhow::Error, errno: Errno) -> bool {
    // Errors of libbpf-rs do not expose the number, but end with it, like those of the standard
    // library.
    let end = format!("(os error {})", errno.raw_os_error());
    error.chain().any(|cause| match cause.downcast_ref::<std::io::Error>() {
        Some(cause) => cause.raw_os_error() == Some(errno.raw_os_error()),
        None => cause.to_string().ends_with(&end),
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::Context;

    use super::*;

    #[test]
    fn a_shortage_is_found_in_every_kind_of_error() {
        for (errno, advice) in [(Errno::MFILE, "ulimit -n"), (Errno::NFILE, "fs.file-max")] {
            let number = errno.raw_os_error();
            let plain = io::Error::from_raw_os_error(number);
            let of_libbpf = libbpf_rs::Error::from_raw_os_error(number);
            for error in [
                anyhow::Error::from(io::Error::from_raw_os_error(number)).context("cannot open x"),
                anyhow::Error::from(libbpf_rs::ErrorExt::context(of_libbpf, "attaching")),
                anyhow::anyhow!("cannot probe SSL_read in x: {plain}"),
                Err::<(), _>(errno).context("x").unwrap_err(),
            ] {
                let shortage = shortage(&error).unwrap_or_else(|| panic!("{error:?}"));
                assert!(shortage.contains(advice), "{shortage}");
            }
        }
        let other = anyhow::Error::from(io::Error::from_raw_os_error(2)).context("os error 24");
        assert_eq!(shortage(&other), None);
    }
}
