//! A file that the user wants probed: `[KIND:]PATH`.

use std::path::PathBuf;
use std::str::FromStr;

use super::library::Family;
use super::library_of_kind;

/// A file, with the kind of its library if the user stated that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// Its path.
    pub path: PathBuf,
    family: Option<Family>,
}

impl NamedFile {
    /// Returns the library that the user stated.
    pub(crate) fn family(&self) -> Option<Family> {
        self.family
    }
}

impl FromStr for NamedFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, path) = match text.split_once(':') {
            Some((kind, path)) if !kind.is_empty() && !kind.contains('/') => (Some(kind), path),
            _ => (None, text),
        };
        let family = kind.map(library_of_kind).transpose()?;
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
    fn a_named_file_may_have_a_kind() {
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
