//! Numbers with units, as filters write them.

use sslrec_cli::size;

use crate::exchange::field::Unit;

impl Unit {
    /// Returns an example of a number of this kind, for messages.
    pub(super) fn example(self) -> &'static str {
        match self {
            Unit::Count => "a whole number, such as 42",
            Unit::Bytes => size::FORMS,
            Unit::Duration => "a time with its unit: us, ms or s, such as 250ms or 1.5s",
            Unit::Millis => "a number of milliseconds, such as 250 or 0.5",
        }
    }

    /// Parses a number of this kind.
    pub(super) fn parse(self, text: &str) -> Option<u64> {
        if self == Unit::Bytes {
            return size::parse(text).ok();
        }
        let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let factor: u64 = match (self, unit) {
            (Unit::Count, "") => 1,
            (Unit::Duration, "us" | "µs") => 1_000,
            (Unit::Duration, "ms") | (Unit::Millis, "") => 1_000_000,
            (Unit::Duration, "s") => 1_000_000_000,
            _ => return None,
        };
        size::scaled(number, factor).ok()
    }
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
