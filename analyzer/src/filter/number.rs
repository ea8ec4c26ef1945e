//! Numbers with units, as filters write them.

/// Parses a number of bytes, with a unit or without.
///
/// # Errors
/// If the text is not a number of bytes. The message shows the accepted forms.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let wanted = || format!("give {}", Unit::Bytes.example());
    Unit::Bytes.parse(text).ok_or_else(wanted)
}

/// How the number of a field is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// A whole number.
    Count,
    /// Bytes, or units of 1024 of them.
    Bytes,
    /// Time with its unit; the number counts nanoseconds.
    Duration,
    /// Milliseconds without a unit; the number counts nanoseconds.
    Millis,
}

impl Unit {
    /// What a number of this kind looks like, for people.
    pub(super) fn example(self) -> &'static str {
        match self {
            Unit::Count => "a whole number, such as 42",
            Unit::Bytes => "a number of bytes, such as 1500, 16K, 1.5M or 2G (K is 1024)",
            Unit::Duration => "a time with its unit: us, ms or s, such as 250ms or 1.5s",
            Unit::Millis => "a number of milliseconds, such as 250 or 0.5",
        }
    }

    /// Reads a number of this kind.
    pub(super) fn parse(self, text: &str) -> Option<u64> {
        let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let factor: u64 = match (self, unit) {
            (Unit::Count | Unit::Bytes, "") => 1,
            (Unit::Bytes, "K" | "k") => 1 << 10,
            (Unit::Bytes, "M" | "m") => 1 << 20,
            (Unit::Bytes, "G" | "g") => 1 << 30,
            (Unit::Duration, "us" | "µs") => 1_000,
            (Unit::Duration, "ms") | (Unit::Millis, "") => 1_000_000,
            (Unit::Duration, "s") => 1_000_000_000,
            _ => return None,
        };
        scaled(number, factor)
    }
}

/// A decimal number times `factor`; a fraction only where it comes to something. `None` where it
/// does not fit.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let whole: u64 = whole.parse().ok()?;
    let exact_digits = !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit());
    if !exact_digits || (factor == 1 && number.contains('.')) {
        return None;
    }
    // Digits beyond the ninth are less than a nanosecond, or than a byte of a gigabyte.
    let fraction = &fraction[..fraction.len().min(9)];
    let scale = 10u64.pow(u32::try_from(fraction.len()).ok()?);
    let part = u128::from(fraction.parse::<u64>().ok()?) * u128::from(factor) / u128::from(scale);
    whole.checked_mul(factor)?.checked_add(u64::try_from(part).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_scale_exactly() {
        for (unit, text, value) in [
            (Unit::Count, "42", Some(42)),
            (Unit::Count, "4.2", None),
            (Unit::Count, "1K", None),
            (Unit::Count, "", None),
            (Unit::Count, "18446744073709551615", Some(u64::MAX)),
            (Unit::Count, "18446744073709551616", None),
            (Unit::Bytes, "1.5K", Some(1536)),
            (Unit::Bytes, "2M", Some(2 << 20)),
            (Unit::Bytes, "1.5", None),
            (Unit::Bytes, "99999999999G", None),
            (Unit::Duration, "200ms", Some(200_000_000)),
            (Unit::Duration, "0.1us", Some(100)),
            (Unit::Duration, "12.3456789012s", Some(12_345_678_901)),
            (Unit::Duration, "200", None),
            (Unit::Duration, "1.s", None),
            (Unit::Duration, ".5s", None),
            (Unit::Duration, "1.2.3s", None),
            (Unit::Millis, "12.3", Some(12_300_000)),
            (Unit::Millis, "12ms", None),
        ] {
            assert_eq!(unit.parse(text), value, "{unit:?} {text}");
        }
    }
}
