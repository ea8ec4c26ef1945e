//! A file that the user wants probed: `[KIND:]PATH`.

use std::path::PathBuf;
use std::str::FromStr;

use super::Family;

/// A file, with the kind of its library if the user stated that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// Its path.
    pub path: PathBuf,
    family: Option<Family>,
}

impl NamedFile {
    /// The library that the user stated.
    pub(crate) fn family(&self) -> Option<Family> {
        self.family
    }
}

/// The kinds of a library.
const KINDS: [(&str, Family); 8] = [
    ("openssl", Family::OpenSsl),
    ("boringssl", Family::OpenSsl),
    ("gnutls", Family::GnuTls),
    ("nss", Family::Nss),
    ("wolfssl", Family::WolfSsl),
    ("mbedtls", Family::MbedTls),
    ("s2n", Family::S2n),
    ("go", Family::Go),
];

impl FromStr for NamedFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, path) = match text.split_once(':') {
            Some((kind, path)) if !kind.is_empty() && !kind.contains('/') => (Some(kind), path),
            _ => (None, text),
        };
        let family = |wanted: &str| {
            let known = KINDS.iter().find(|(kind, _)| *kind == wanted);
            known.map(|(_, family)| *family).ok_or_else(|| {
                let kinds = KINDS.map(|(kind, _)| kind).join(", ");
                format!("unknown kind `{wanted}`; known: {kinds}")
            })
        };
        let family = kind.map(family).transpose()?;
        if path.is_empty() {
            return Err("expected PATH or KIND:PATH, such as openssl:/opt/lib/libssl.so".into());
        }
        Ok(Self { path: path.into(), family })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_may_say_their_kind() {
        let path = |text| NamedFile::from_str(text).map(|file| file.path);
        assert_eq!(path("/lib/libssl.so.3"), Ok("/lib/libssl.so.3".into()));
        assert_eq!(path("openssl:/x"), Ok("/x".into()));
        assert_eq!(path("./a:b"), Ok("./a:b".into()));
        assert!(path("tls:/x").unwrap_err().contains("known: openssl, boringssl, gnutls"));
        assert!(path("gnutls:").is_err());
        let family = |text| NamedFile::from_str(text).unwrap().family;
        assert_eq!(family("boringssl:/x"), Some(Family::OpenSsl));
        assert_eq!(family("nss:/x"), Some(Family::Nss));
        assert_eq!(family("/x"), None);
    }
}
