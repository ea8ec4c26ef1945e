//! Formats bytes, times and numbers as text, the same for every output.
//!
//! All types here borrow and write through `Display`, so that listing a large capture builds no
//! temporary strings.

use std::fmt::{self, Display, Formatter};

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};

/// Any displayable value as a JSON string, without a copy.
pub(crate) struct Text<T>(pub(crate) T);

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Nanoseconds since the Unix epoch as the time of day in UTC, with milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeOfDay(pub u64);

impl Display for TimeOfDay {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let millis = self.0 / 1_000_000;
        write!(f, "{}.{:03}", Clock(millis / 1000 % 86_400), millis % 1000)
    }
}

/// Seconds since midnight as `hh:mm:ss`.
struct Clock(u64);

impl Display for Clock {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}:{:02}", self.0 / 3600, self.0 / 60 % 60, self.0 % 60)
    }
}

/// Bytes as base64 (RFC 4648 section 4), padded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Base64<'a>(pub &'a [u8]);

impl Display for Base64<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Base64Display::new(self.0, &STANDARD).fmt(f)
    }
}

/// A duration for people: `37us`, `0.8ms`, `14ms`, `3.20s`; `{:#}` puts a space before the unit,
/// for use in a sentence.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Duration(pub u64);

impl Display for Duration {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let millis = self.0 as f64 / 1e6;
        let space = if f.alternate() { " " } else { "" };
        let text = match millis {
            m if m < 0.0995 => format!("{:.0}{space}us", m * 1e3),
            m if m < 9.95 => format!("{m:.1}{space}ms"),
            m if m < 999.5 => format!("{m:.0}{space}ms"),
            m if m < 9_995.0 => format!("{:.2}{space}s", m / 1e3),
            m => format!("{:.1}{space}s", m / 1e3),
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_day_has_milliseconds() {
        assert_eq!(TimeOfDay(1_795_407_694_123_456_789).to_string(), "04:21:34.123");
    }

    #[test]
    fn base64_agrees_with_the_vectors_of_rfc_4648() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(Base64(plain.as_bytes()).to_string(), encoded);
        }
        let long = Base64(&[0xff; 49]).to_string();
        assert_eq!(long, format!("{}/w==", "/".repeat(64)));
    }

    #[test]
    fn durations_are_short() {
        let durations: Vec<String> = [37_400, 99_400, 99_500, 800_000, 14_100_000, 3_200_000_000]
            .iter()
            .map(|&n| Duration(n).to_string())
            .collect();
        assert_eq!(durations, ["37us", "99us", "0.1ms", "0.8ms", "14ms", "3.20s"]);
        assert_eq!(format!("{:#}", Duration(703_000_000)), "703 ms");
    }
}
