//! Formats bytes, times and numbers as text, the same for every output.
//!
//! All types here borrow and write through `Display`, so that listing a large capture builds no
//! temporary strings.

use std::cmp::Ordering;
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
        let space = if f.alternate() { " " } else { "" };
        // Exact digits of floating-point numbers took a twentieth of the time of a listing.
        let in_units = |ns| rounded(self.0, ns);
        let text = match self.0 {
            ..99_500 => format!("{}{space}us", in_units(1_000)),
            99_500..9_950_000 => {
                let tenths = in_units(100_000);
                format!("{}.{}{space}ms", tenths / 10, tenths % 10)
            }
            9_950_000..999_500_000 => format!("{}{space}ms", in_units(1_000_000)),
            999_500_000..9_995_000_000 => {
                let hundredths = in_units(10_000_000);
                format!("{}.{:02}{space}s", hundredths / 100, hundredths % 100)
            }
            _ => {
                let tenths = in_units(100_000_000);
                format!("{}.{}{space}s", tenths / 10, tenths % 10)
            }
        };
        f.pad(&text)
    }
}

/// Returns a number in this unit, rounded; the half to the even number, as for floating-point
/// numbers.
fn rounded(number: u64, unit: u64) -> u64 {
    let (whole, rest) = (number / unit, number % unit);
    let is_up = match rest.cmp(&(unit - rest)) {
        Ordering::Less => false,
        Ordering::Equal => whole % 2 == 1,
        Ordering::Greater => true,
    };
    whole + u64::from(is_up)
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
        // The half is rounded to the even number.
        let halves = [14_500_000, 15_500_000, 2_500, 250_000, 7_125_000_000];
        let texts = halves.map(|ns| Duration(ns).to_string());
        assert_eq!(texts, ["14ms", "16ms", "2us", "0.2ms", "7.12s"]);
        let limits = [99_499, 99_500, 9_949_999, 9_950_000, 999_499_999, 999_500_000];
        let texts = limits.map(|ns| Duration(ns).to_string());
        assert_eq!(texts, ["99us", "0.1ms", "9.9ms", "10ms", "999ms", "1.00s"]);
        assert_eq!(Duration(u64::MAX).to_string(), "18446744073.7s");
    }

    #[test]
    fn durations_have_the_digits_of_floating_point_numbers() {
        for ns in (1..40_000_000_000u64).step_by(1_234_577) {
            let seconds = ns as f64 / 1e9;
            let expected = match ns {
                ..9_950_000 => format!("{:.1}ms", seconds * 1e3),
                9_950_000..999_500_000 => format!("{:.0}ms", seconds * 1e3),
                999_500_000..9_995_000_000 => format!("{seconds:.2}s"),
                _ => format!("{seconds:.1}s"),
            };
            assert!(ns < 99_500 || Duration(ns).to_string() == expected, "{ns}");
        }
    }
}
