//! Formats octets and times as text for the listing.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};

/// Returns bytes of a message head as text for people: UTF-8 if they are that, else as [`latin1`].
///
/// RFC 9110 section 5.5 allows octets above 0x7F in field values (obs-text) and gives them no
/// charset. Most are UTF-8, and other texts are hardly ever valid UTF-8. Browsers read them alike.
pub fn readable(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| latin1(bytes), Cow::Borrowed)
}

/// Returns bytes of a message head as text for programs: each octet becomes the code point of the
/// same number (ISO 8859-1), so that the original bytes can be restored.
pub fn latin1(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => Cow::Borrowed(text),
        _ => Cow::Owned(bytes.iter().map(|&b| char::from(b)).collect()),
    }
}

/// Returns octets that are [`readable`] as this text, one for each character if possible.
pub(crate) fn octets(text: &str) -> Cow<'_, [u8]> {
    if text.is_ascii() {
        return Cow::Borrowed(text.as_bytes());
    }
    let octets: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c).ok()).collect();
    match octets {
        Some(octets) if std::str::from_utf8(&octets).is_err() => Cow::Owned(octets),
        _ => Cow::Borrowed(text.as_bytes()),
    }
}

/// Nanoseconds since the Unix epoch as RFC 3339 in UTC with nine digits.
#[derive(Debug, Clone, Copy)]
pub struct Rfc3339(pub u64);

impl Rfc3339 {
    /// Returns the characters of the time. 64 bits of nanoseconds end in 2554, so a year has four
    /// digits.
    pub fn digits(self) -> [u8; 30] {
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

/// Returns year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian
/// calendar.
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
    }

    #[test]
    fn every_octet_survives_as_latin1() {
        let all: Vec<u8> = (0..=255).collect();
        let back: Vec<u8> = latin1(&all).chars().map(|c| u8::try_from(c).unwrap()).collect();
        assert_eq!(back, all);
        assert_eq!(latin1("é".as_bytes()), "Ã©");
    }

    #[test]
    fn utf_8_is_readable_and_other_texts_are_latin1() {
        assert_eq!(readable("é漢".as_bytes()), "é漢");
        assert_eq!(readable(b"\xe9\xfc"), "éü");
        assert_eq!(readable(b"a"), "a");
        for text in ["a", "é", "Ã©", "漢", "é漢", ""] {
            assert_eq!(readable(&octets(text)), text);
        }
        assert_eq!(*octets("é"), *b"\xe9");
    }
}
