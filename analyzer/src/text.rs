//! Turns bytes, times and numbers into text, for every output alike.
//!
//! Everything here borrows and writes through `Display`, so that a listing of a large capture
//! builds no temporary strings.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter, Write};

use serde::{Serialize, Serializer};

/// Anything that can be displayed, as a JSON string, without a copy.
pub(crate) struct Text<T>(pub(crate) T);

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Bytes from a message head as text.
///
/// RFC 9110 section 5.5 allows octets above 0x7F in field values (obs-text) and gives them no
/// charset. Each octet becomes the code point of the same number (ISO 8859-1), so that the
/// original bytes can always be had back: a UTF-8 value shows as mojibake, but none is altered.
pub fn latin1(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => Cow::Borrowed(text),
        _ => Cow::Owned(bytes.iter().map(|&b| char::from(b)).collect()),
    }
}

/// Nanoseconds since the Unix epoch as RFC 3339 in UTC with nine digits.
#[derive(Debug, Clone, Copy)]
pub struct Rfc3339(pub u64);

impl Rfc3339 {
    /// Its characters. 64 bits of nanoseconds end in 2554, so that a year has four digits.
    pub(crate) fn digits(self) -> [u8; 30] {
        let (secs, nanos) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        let (year, month, day) = civil(secs / 86_400);
        let (hour, minute, second) = (secs / 3600 % 24, secs / 60 % 60, secs % 60);
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        for (number, place) in [
            (year, 0..4),
            (month, 5..7),
            (day, 8..10),
            (hour, 11..13),
            (minute, 14..16),
            (second, 17..19),
            (nanos, 20..29),
        ] {
            let mut rest = number;
            for digit in text[place].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
        text
    }
}

impl Display for Rfc3339 {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.digits()).map_err(|_| fmt::Error)?)
    }
}

/// Nanoseconds since the Unix epoch as the time of day in UTC, with milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct TimeOfDay(pub u64);

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

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar.
///
/// Counts in eras of 400 years that begin on 1 March, which puts the leap day last.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// Bytes as base64 (RFC 4648 section 4), padded.
#[derive(Debug, Clone, Copy)]
pub struct Base64<'a>(pub &'a [u8]);

impl Display for Base64<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        // One write for every 48 bytes: a write for each character makes large bodies slow.
        let mut line = [0u8; 64];
        for block in self.0.chunks(48) {
            let mut len = 0;
            for group in block.chunks(3) {
                let at = |i: usize| u32::from(group.get(i).copied().unwrap_or(0));
                let bits = at(0) << 16 | at(1) << 8 | at(2);
                for i in 0..4 {
                    let symbol = ALPHABET[(bits >> (18 - 6 * i) & 63) as usize];
                    line[len] = if i <= group.len() { symbol } else { b'=' };
                    len += 1;
                }
            }
            f.write_str(std::str::from_utf8(&line[..len]).map_err(|_| fmt::Error)?)?;
        }
        Ok(())
    }
}

/// Text for a terminal: control characters are escaped, so that bytes from the network cannot
/// move the cursor, change colours or forge lines.
#[derive(Debug, Clone, Copy)]
pub struct Printable<'a>(pub &'a str);

impl Display for Printable<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                // Bidirectional overrides reorder what stands around them on the line.
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                    write!(f, "{}", c.escape_unicode())?
                }
                c if c.is_control() => write!(f, "{}", c.escape_default())?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A number of bytes for people: `999`, `1.2K`, `34M`.
#[derive(Debug, Clone, Copy)]
pub struct Size(pub u64);

impl Display for Size {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut value = self.0 as f64;
        let mut unit = "";
        for next in ["K", "M", "G", "T"] {
            if value < 999.5 {
                break;
            }
            value /= 1024.0;
            unit = next;
        }
        let digits = usize::from(!unit.is_empty() && value < 9.95);
        f.pad(&format!("{value:.digits$}{unit}"))
    }
}

/// A duration for people: `37us`, `0.8ms`, `14ms`, `3.20s`; with `{:#}` a space stands before the unit, as
/// in a sentence.
#[derive(Debug, Clone, Copy)]
pub struct Duration(pub u64);

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
    fn times_are_utc_with_nine_digits() {
        assert_eq!(Rfc3339(0).to_string(), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(Rfc3339(951_782_400_000_000_001).to_string(), "2000-02-29T00:00:00.000000001Z");
        assert_eq!(
            Rfc3339(1_795_407_694_123_456_789).to_string(),
            "2026-11-23T04:21:34.123456789Z"
        );
        assert_eq!(
            Rfc3339(4_107_542_399_999_999_999).to_string(),
            "2100-02-28T23:59:59.999999999Z"
        );
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
    fn every_octet_survives_as_latin1() {
        let all: Vec<u8> = (0..=255).collect();
        let back: Vec<u8> = latin1(&all).chars().map(|c| u8::try_from(c).unwrap()).collect();
        assert_eq!(back, all);
        assert_eq!(latin1("é".as_bytes()), "Ã©");
    }

    #[test]
    fn nothing_from_the_network_reaches_the_terminal_as_control() {
        let text = Printable("a\u{1b}[31m\r\n\u{9b}x\u{202e}é").to_string();
        assert!(text.chars().all(|c| !c.is_control()), "{text}");
        assert!(!text.contains('\u{202e}') && text.ends_with('é'));
    }

    #[test]
    fn sizes_and_durations_are_short() {
        let sizes: Vec<String> = [0, 999, 1000, 1024, 10_240, 1_048_576, 20 << 20]
            .iter()
            .map(|&n| Size(n).to_string())
            .collect();
        assert_eq!(sizes, ["0", "999", "1.0K", "1.0K", "10K", "1.0M", "20M"]);
        let durations: Vec<String> = [37_400, 99_400, 99_500, 800_000, 14_100_000, 3_200_000_000]
            .iter()
            .map(|&n| Duration(n).to_string())
            .collect();
        assert_eq!(durations, ["37us", "99us", "0.1ms", "0.8ms", "14ms", "3.20s"]);
        assert_eq!(format!("{:#}", Duration(703_000_000)), "703 ms");
    }
}
