//! Recognises other TLS implementations in a program by the contents of its file, to report why it
//! was not recorded and what would help.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use memchr::memmem;

/// Bytes of a file that are searched, and bytes of all files that are searched in one run.
const SEARCH_MAX: u64 = 1 << 30;

/// Bytes searched at once.
const BLOCK: usize = 1 << 20;

/// The mark that identifies a file, and its message.
struct Sign {
    needles: &'static [&'static [u8]],
    what: &'static str,
}

/// Panic messages with the names of source files, version texts, and symbols in texts, which
/// survive `strip`. The first sign that is found counts.
const SIGNS: &[Sign] = &[
    Sign {
        needles: &[b"/rustls-0.", b"rustls::"],
        what: "it has rustls inside, which has no functions that could be probed; \
               SSLKEYLOGFILE gives its keys if the program allows it",
    },
    Sign {
        needles: &[b"\xff Go buildinf:"],
        what: "it is a Go program whose crypto/tls could not be probed (-v prints the reason)",
    },
    Sign {
        needles: &[b"third_party/boringssl", b"boringssl/src/ssl/", b"BoringSSL"],
        what: "it has BoringSSL inside, without symbols; name a build with symbols by --lib, \
               or let SSLKEYLOGFILE give its keys",
    },
    Sign {
        needles: &[b"OpenSSL 3.", b"OpenSSL 1."],
        what: "it has OpenSSL inside, without symbols; name a build with symbols by --lib, \
               or let SSLKEYLOGFILE give its keys",
    },
    Sign { needles: &[b"mbed TLS", b"mbedtls_"], what: "it has mbed TLS inside" },
    Sign { needles: &[b"wolfSSL "], what: "it has wolfSSL inside" },
    Sign { needles: &[b"s2n_connection"], what: "it has s2n inside" },
];

/// The virtual machine's library, wherever it is.
const JVM: &str = "libjvm.so";

/// The message for a Java program.
const JSSE: &str = "it is a Java program, whose TLS (JSSE) is not in a library; \
                    the agent jSSLKeyLog gives its keys";

/// Searches files, each once, within a bound.
#[derive(Debug)]
pub(crate) struct Recogniser {
    left: u64,
    known: std::collections::HashMap<std::path::PathBuf, Option<&'static str>>,
}

impl Default for Recogniser {
    fn default() -> Self {
        Self { left: SEARCH_MAX, known: std::collections::HashMap::new() }
    }
}

impl Recogniser {
    /// Returns the TLS implementation in a file that a process has mapped. `open_path` is the path
    /// to open.
    pub(crate) fn judge(&mut self, open_path: &Path, path: &Path) -> Option<&'static str> {
        if path.file_name().is_some_and(|name| name == JVM) {
            return Some(JSSE);
        }
        if let Some(known) = self.known.get(path) {
            return *known;
        }
        // An unreadable file has no signs.
        let found = File::open(open_path).ok().and_then(|file| self.search(file));
        self.known.insert(path.into(), found);
        found
    }

    fn search(&mut self, file: impl Read) -> Option<&'static str> {
        let longest = SIGNS.iter().flat_map(|sign| sign.needles).map(|n| n.len()).max()?;
        let mut file = file.take(self.left);
        let mut block = Vec::with_capacity(BLOCK + longest);
        let mut best: Option<usize> = None;
        loop {
            let kept = block.len();
            let read = (&mut file).take(BLOCK as u64).read_to_end(&mut block).ok()?;
            self.left -= read as u64;
            if read == 0 {
                return best.map(|index| SIGNS[index].what);
            }
            // Only signs that precede the found sign.
            let better = &SIGNS[..best.unwrap_or(SIGNS.len())];
            let is_in =
                |sign: &Sign| sign.needles.iter().any(|n| memmem::find(&block, n).is_some());
            best = better.iter().position(is_in).or(best);
            if best == Some(0) {
                return Some(SIGNS[0].what);
            }
            // A needle may cross the boundary.
            let end = kept + read;
            block.copy_within(end.saturating_sub(longest).., 0);
            block.truncate(longest.min(end));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(bytes: &[u8]) -> Option<&'static str> {
        Recogniser::default().search(bytes)
    }

    #[test]
    fn tls_stacks_are_recognised_by_the_contents_of_a_file() {
        let path = b"/root/.cargo/registry/src/index/rustls-0.23.12/src/conn.rs";
        assert!(found(path).unwrap().contains("rustls"));
        assert!(found(b"xx\xff Go buildinf:yy").unwrap().contains("Go program"));
        assert!(found(b"OpenSSL 3.0.11 19 Sep 2023").unwrap().contains("OpenSSL inside"));
        // References to other libraries have a lower rank.
        assert!(found(b"OpenSSL 1.1.1 and rustls::").unwrap().contains("rustls"));
        assert_eq!(found(b"an OpenSSL of no version"), None);
        assert_eq!(found(b""), None);
    }

    #[test]
    fn a_sign_across_two_blocks_is_found() {
        for before in [BLOCK - 20, BLOCK - 5, BLOCK - 1, BLOCK, 2 * BLOCK - 3] {
            let mut bytes = vec![b'x'; before];
            bytes.extend_from_slice(b"OpenSSL 3.0.11");
            bytes.extend(vec![b'y'; 100]);
            assert!(found(&bytes).is_some(), "{before}");
        }
    }

    #[test]
    fn the_search_has_a_bound() {
        let mut recogniser = Recogniser { left: 10, ..Recogniser::default() };
        assert_eq!(recogniser.search(&b"0123456789 OpenSSL 3.0.11"[..]), None);
        assert_eq!(recogniser.left, 0);
    }

    #[test]
    fn java_is_recognised_by_its_virtual_machine() {
        let library = Path::new("/usr/lib/jvm/java-17/lib/server/libjvm.so");
        assert!(Recogniser::default().judge(library, library).unwrap().contains("JSSE"));
        let other = Path::new("/bin/true");
        assert_eq!(Recogniser::default().judge(other, other), None);
    }
}
