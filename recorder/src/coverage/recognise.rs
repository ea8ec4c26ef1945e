//! Recognises TLS implementations in the files of a program by the bytes of these files, to report
//! why TLS was not recorded and what would help.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aho_corasick::AhoCorasick;

use crate::functions::Family;
use crate::symbols::build_id;

/// Bytes of all files that are searched in one run.
const SEARCH_MAX: u64 = 1 << 30;

/// Bytes searched at once.
const BLOCK: usize = 1 << 20;

/// A TLS implementation whose functions are not probed in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    BoringSsl,
    OpenSsl,
    Rustls,
    Utls,
    Go,
    S2n,
    MbedTls,
    WolfSsl,
    Jsse,
    Erlang,
    Unknown,
}

impl Kind {
    /// Returns its name in a reason, with the obstacle to a probe.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BoringSsl => "BoringSSL without symbols",
            Self::OpenSsl => "OpenSSL without symbols",
            Self::Rustls => "rustls (no functions to probe)",
            Self::Utls => "uTLS of Go (not crypto/tls)",
            Self::Go => "crypto/tls of Go (not probed, -v prints the reason)",
            Self::S2n => "s2n without symbols",
            Self::MbedTls => "mbed TLS without symbols",
            Self::WolfSsl => "wolfSSL without symbols",
            Self::Jsse => "JSSE (the TLS of Java, in Java)",
            Self::Erlang => "ssl of Erlang (in Erlang)",
            Self::Unknown => "an unknown TLS implementation",
        }
    }

    /// Returns whether it is recorded if its symbols are found.
    pub(crate) fn has_symbols(self) -> bool {
        self.family().is_some_and(|family| family != Family::Go)
    }

    /// Returns the family whose probes would record it, if its functions were found.
    pub(crate) fn family(self) -> Option<Family> {
        Some(match self {
            Self::BoringSsl | Self::OpenSsl => Family::OpenSsl,
            Self::Go => Family::Go,
            Self::S2n => Family::S2n,
            Self::MbedTls => Family::MbedTls,
            Self::WolfSsl => Family::WolfSsl,
            Self::Rustls | Self::Utls | Self::Jsse | Self::Erlang | Self::Unknown => return None,
        })
    }
}

/// A sequence of bytes that is searched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// Occurs in this implementation and nowhere else.
    Of(Kind),
    /// Occurs in users of this implementation, too.
    Mentions(Kind),
    /// A label of the keys of TLS 1.3, which each implementation contains (RFC 8446 section 7.1).
    Label,
    GoBuild,
    GoConn,
    GoUtls,
    KeyLog,
    Deno,
}

/// Names of source files in the arguments of error functions, messages of errors, and names of
/// functions in tables for stack traces: all survive `strip`.
const SIGNS: &[(&[u8], Sign)] = &[
    (b"ssl/ssl_lib.cc", Sign::Of(Kind::BoringSsl)),
    (b"BoringSSL", Sign::Mentions(Kind::BoringSsl)),
    (b"ssl/ssl_lib.c\0", Sign::Of(Kind::OpenSsl)),
    (b"OpenSSL 3.", Sign::Mentions(Kind::OpenSsl)),
    (b"OpenSSL 1.", Sign::Mentions(Kind::OpenSsl)),
    (b"LibreSSL ", Sign::Mentions(Kind::OpenSsl)),
    (b"received unexpected handshake message: got", Sign::Of(Kind::Rustls)),
    (b"/rustls-0.", Sign::Mentions(Kind::Rustls)),
    (b"s2n_handshake_io.c", Sign::Of(Kind::S2n)),
    (b"ssl_msg.c\0", Sign::Of(Kind::MbedTls)),
    (b"wolfSSL error", Sign::Of(Kind::WolfSsl)),
    (b"c hs traffic", Sign::Label),
    (b"\xff Go buildinf:", Sign::GoBuild),
    (b"crypto/tls.(*Conn)", Sign::GoConn),
    (b"utls.(*UConn)", Sign::GoUtls),
    (b"SSLKEYLOGFILE", Sign::KeyLog),
    (b"deno_tls", Sign::Deno),
];

/// The virtual machine's library, wherever it is.
const JVM: &str = "libjvm.so";

/// The virtual machine of Erlang.
const BEAM: &str = "beam.smp";

/// The TLS implementations in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) kinds: Vec<Kind>,
    /// It writes its keys to the file that the environment names.
    pub(crate) writes_keys: bool,
    /// The number by which its debug symbols are found.
    pub(crate) build_id: Option<String>,
}

impl Contents {
    fn of(kind: Kind) -> Self {
        Self { kinds: vec![kind], ..Self::default() }
    }

    /// Decides by the signs that were found, a bit for each.
    fn judge(found: u32) -> Self {
        let has = |sign: Sign| {
            let mut signs = SIGNS.iter().enumerate();
            signs.any(|(index, (_, known))| *known == sign && found >> index & 1 == 1)
        };
        let mut kinds: Vec<Kind> = SIGNS
            .iter()
            .enumerate()
            .filter(|(index, _)| found >> index & 1 == 1)
            .filter_map(|(_, (_, sign))| if let Sign::Of(kind) = sign { Some(*kind) } else { None })
            .collect();
        if has(Sign::GoBuild) && has(Sign::GoUtls) {
            kinds.push(Kind::Utls);
        } else if has(Sign::GoBuild) && has(Sign::GoConn) {
            kinds.push(Kind::Go);
        }
        if kinds.is_empty() && has(Sign::Label) {
            let mentioned = [Kind::Rustls, Kind::BoringSsl, Kind::OpenSsl];
            let mut mentioned = mentioned.into_iter().filter(|kind| has(Sign::Mentions(*kind)));
            kinds.push(mentioned.next().unwrap_or(Kind::Unknown));
        }
        // rustls contains the name whether the program lets it write keys or not.
        let is_able = kinds.first() != Some(&Kind::Rustls) || has(Sign::Deno);
        let writes_keys = !kinds.is_empty() && is_able && has(Sign::KeyLog);
        Self { kinds, writes_keys, build_id: None }
    }
}

/// Searches files, each once, within a bound.
#[derive(Debug)]
pub(crate) struct Recogniser {
    left: u64,
    /// `None` for files that cannot be read.
    known: HashMap<PathBuf, Option<Arc<Contents>>>,
    /// Built with the first search.
    signs: Option<AhoCorasick>,
}

impl Default for Recogniser {
    fn default() -> Self {
        Self { left: SEARCH_MAX, known: HashMap::new(), signs: None }
    }
}

impl Recogniser {
    /// Returns the contents of a file that a process has mapped; `None` if it cannot be read.
    /// `open_path` is the path to open.
    pub(crate) fn look_at(&mut self, open_path: &Path, path: &Path) -> Option<Arc<Contents>> {
        let name = path.file_name().unwrap_or_default();
        if name == JVM {
            return Some(Arc::new(Contents::of(Kind::Jsse)));
        } else if name == BEAM {
            return Some(Arc::new(Contents::of(Kind::Erlang)));
        }
        if let Some(known) = self.known.get(path) {
            return known.clone();
        }
        let contents = self.read(open_path).map(Arc::new);
        self.known.insert(path.into(), contents.clone());
        contents
    }

    fn read(&mut self, open_path: &Path) -> Option<Contents> {
        let file = File::open(open_path).ok()?;
        let mut contents = Contents::judge(self.search(&file)?);
        if !contents.kinds.is_empty() {
            contents.build_id = build_id(&file);
        }
        Some(contents)
    }

    /// Returns the signs in a file, a bit for each; `None` if it cannot be read.
    fn search(&mut self, file: impl Read) -> Option<u32> {
        let signs = match &mut self.signs {
            Some(signs) => signs,
            None => self.signs.insert(AhoCorasick::new(SIGNS.iter().map(|(bytes, _)| bytes)).ok()?),
        };
        let overlap = signs.max_pattern_len() - 1;
        let mut file = file.take(self.left);
        let mut block = Vec::with_capacity(BLOCK + overlap);
        let mut found = 0;
        loop {
            let read = (&mut file).take(BLOCK as u64).read_to_end(&mut block).ok()?;
            self.left -= read as u64;
            if read == 0 {
                return Some(found);
            }
            for sign in signs.find_iter(&block) {
                found |= 1 << sign.pattern().as_u32();
            }
            // A sign may cross the boundary.
            let end = block.len();
            block.copy_within(end.saturating_sub(overlap).., 0);
            block.truncate(overlap.min(end));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(bytes: &[u8]) -> Contents {
        Contents::judge(Recogniser::default().search(bytes).unwrap())
    }

    fn kinds(bytes: &[u8]) -> Vec<Kind> {
        found(bytes).kinds
    }

    #[test]
    fn tls_stacks_are_recognised_by_the_contents_of_a_file() {
        assert_eq!(kinds(b"/third_party/boringssl/src/ssl/ssl_lib.cc\0"), [Kind::BoringSsl]);
        assert_eq!(kinds(b"xx../ssl/ssl_lib.c\0xx"), [Kind::OpenSsl]);
        let rustls = b"received unexpected handshake message: got ";
        assert_eq!(kinds(rustls), [Kind::Rustls]);
        let go = b"\xff Go buildinf:yy crypto/tls.(*Conn).Read";
        assert_eq!(kinds(go), [Kind::Go]);
        let utls = [go, &b"github.com/refraction-networking/utls.(*UConn).Handshake"[..]].concat();
        assert_eq!(kinds(&utls), [Kind::Utls]);
        assert_eq!(kinds(b"a Go program \xff Go buildinf:yy without TLS"), []);
        assert_eq!(kinds(b"c hs traffic"), [Kind::Unknown]);
        assert_eq!(kinds(b""), []);
    }

    #[test]
    fn a_file_that_mentions_a_library_does_not_contain_it() {
        for mention in ["OpenSSL 3.0.11 19 Sep 2023", "BoringSSL", "/rustls-0.23.1/src", "utls"] {
            assert_eq!(kinds(mention.as_bytes()), [], "{mention}");
            let with_keys = format!("{mention} c hs traffic");
            assert_eq!(kinds(with_keys.as_bytes()).len(), 1, "{mention}");
        }
        // Others mention them, but contain one: what is contained counts.
        assert_eq!(kinds(b"rustls:: c hs traffic ssl/ssl_lib.cc\0"), [Kind::BoringSsl]);
        assert_eq!(kinds(b"OpenSSL 3.0.11 c hs traffic"), [Kind::OpenSsl]);
    }

    #[test]
    fn all_implementations_in_a_file_are_named() {
        let both = b"received unexpected handshake message: got ../ssl/ssl_lib.c\0";
        assert_eq!(kinds(both), [Kind::OpenSsl, Kind::Rustls]);
    }

    #[test]
    fn keys_are_promised_only_of_programs_that_write_them() {
        assert!(found(b"ssl/ssl_lib.cc SSLKEYLOGFILE").writes_keys);
        assert!(!found(b"ssl/ssl_lib.cc").writes_keys);
        assert!(!found(b"SSLKEYLOGFILE").writes_keys);
        let rustls = b"received unexpected handshake message: got SSLKEYLOGFILE";
        assert!(!found(rustls).writes_keys);
        assert!(found(&[&rustls[..], b"deno_tls"].concat()).writes_keys);
    }

    #[test]
    fn a_sign_across_two_blocks_is_found() {
        for before in [BLOCK - 20, BLOCK - 13, BLOCK - 1, BLOCK, 2 * BLOCK - 3] {
            let mut bytes = vec![b'x'; before];
            bytes.extend_from_slice(b"ssl/ssl_lib.cc");
            bytes.extend(vec![b'y'; 100]);
            assert_eq!(kinds(&bytes), [Kind::BoringSsl], "{before}");
        }
    }

    #[test]
    fn the_search_has_a_bound() {
        let mut recogniser = Recogniser { left: 10, ..Recogniser::default() };
        assert_eq!(recogniser.search(&b"0123456789ssl/ssl_lib.cc"[..]), Some(0));
        assert_eq!(recogniser.left, 0);
    }

    #[test]
    fn virtual_machines_are_recognised_by_their_names() {
        let kinds = |path: &str| {
            let path = Path::new(path);
            Recogniser::default().look_at(path, path).map(|contents| contents.kinds.clone())
        };
        assert_eq!(kinds("/usr/lib/jvm/java-17/lib/server/libjvm.so"), Some(vec![Kind::Jsse]));
        assert_eq!(kinds("/usr/lib/erlang/erts-13/bin/beam.smp"), Some(vec![Kind::Erlang]));
        assert_eq!(kinds("/bin/true"), Some(vec![]));
        assert_eq!(kinds("/no/such/file"), None);
    }
}
