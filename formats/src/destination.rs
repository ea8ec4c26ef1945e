//! The destination of a capture, and its format.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Output file of `sslrec -w`, `sslanalyze convert` and `sslanalyze redact`. The name chooses the
/// format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// pcapng on standard output.
    Stdout,
    /// A pcapng file.
    Pcapng(PathBuf),
    /// A raw log.
    RawLog(PathBuf),
}

impl FromStr for Destination {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = PathBuf::from(text);
        match path.extension().and_then(|extension| extension.to_str()) {
            _ if text == "-" => Ok(Self::Stdout),
            Some("pcapng") => Ok(Self::Pcapng(path)),
            Some("zst") => Ok(Self::RawLog(path)),
            _ => Err("the name must end in .pcapng, or in .zst for the raw log; - is stdout"),
        }
    }
}

/// Writes the name on the command line.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("-"),
            Self::Pcapng(path) | Self::RawLog(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_chooses_the_format() {
        assert_eq!("-".parse(), Ok(Destination::Stdout));
        assert_eq!("x/a.pcapng".parse(), Ok(Destination::Pcapng("x/a.pcapng".into())));
        assert_eq!("x/a.zst".parse(), Ok(Destination::RawLog("x/a.zst".into())));
        for bad in ["", "capture", "capture.pcap", "capture.pcapng.gz", ".zst"] {
            assert!(Destination::from_str(bad).is_err(), "{bad}");
        }
    }
}
