//! Numbers of bytes in the form that users read and write. Units are powers of 1024.

use std::fmt::{self, Display, Formatter};

/// Accepted forms, for error messages.
pub const FORMS: &str = "a number of bytes, such as 1500, 16K, 1.5M or 2GiB (K is 1024)";

/// Parses a number of bytes: digits, with a fraction if there is a unit, and then `K`, `M`, `G` or
/// `T`, also as `KB` or `KiB`, in upper or lower case. `B` alone means bytes.
///
/// # Errors
/// The text has another form, or the number does not fit into 64 bits. The message contains the
/// accepted forms.
pub fn parse(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let form = || format!("`{text}` is not a size; expected {FORMS}");
    let unit = unit(suffix).ok_or_else(form)?;
    scaled(number, unit).map_err(|error| match error {
        NotANumber::Form => form(),
        NotANumber::TooLarge => format!("`{text}` is too large; expected {FORMS}"),
    })
}

fn unit(suffix: &str) -> Option<u64> {
    const UNITS: [&str; 5] = ["", "K", "M", "G", "T"];
    let suffix = suffix.to_ascii_uppercase();
    let letter = match suffix.strip_suffix("IB") {
        Some("") => return None,
        Some(letter) => letter,
        None => suffix.strip_suffix('B').unwrap_or(&suffix),
    };
    let power = UNITS.iter().position(|unit| *unit == letter)?;
    Some(1 << (10 * power))
}

/// The reason why a text is not a number of units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotANumber {
    /// The text is not a decimal number, or it has a fraction and the unit has no parts.
    Form,
    /// The number does not fit into 64 bits.
    TooLarge,
}

/// A decimal number times `unit`, rounded down. A fraction is accepted only if `unit` is not 1.
///
/// # Errors
/// See [`NotANumber`].
pub fn scaled(number: &str, unit: u64) -> Result<u64, NotANumber> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || (unit == 1 && number.contains('.')) {
        return Err(NotANumber::Form);
    }
    // Only digits are left, so that a failure is an overflow.
    let whole: u64 = whole.parse().map_err(|_| NotANumber::TooLarge)?;
    // Digits after the eighteenth are less than 1 for every unit up to 2^59.
    let fraction = &fraction[..fraction.len().min(18)];
    let scale = 10u128.pow(fraction.len() as u32);
    let part: u64 = fraction.parse().map_err(|_| NotANumber::TooLarge)?;
    let part = u128::from(part) * u128::from(unit) / scale;
    let total = u128::from(whole) * u128::from(unit) + part;
    u64::try_from(total).map_err(|_| NotANumber::TooLarge)
}

/// A number of bytes in at most four characters up to the tebibyte: `999`, `1.2K`, `34M`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_accept_units_and_fractions() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("4096B", 4096),
            ("64K", 65536),
            ("16m", 16 << 20),
            ("16MB", 16 << 20),
            ("16MiB", 16 << 20),
            ("1GiB", 1 << 30),
            ("1.5K", 1536),
            ("1.5M", 3 << 19),
            ("0.5gib", 1 << 29),
            ("2T", 2 << 40),
            ("1.0000000000000000009K", 1024),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn invalid_sizes_are_errors_with_the_accepted_forms() {
        let bad = [
            "", "K", "16X", "-1", "+1", "1.5", "1.5B", ".5M", "1.M", "1.2.3M", "16 M", "16MiBs",
            "iB", "1iB", "٣K", "1e3",
        ];
        for text in bad {
            let error = parse(text).unwrap_err();
            assert!(error.contains("is not a size") && error.contains("1.5M"), "{text}: {error}");
        }
        for text in ["99999999999G", "18446744073709551616", "16777216T", "99999999999999999999K"] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("too large") && error.contains("16K"), "{text}: {error}");
        }
    }

    #[test]
    fn printed_sizes_are_short() {
        let sizes = [0, 999, 1000, 1024, 10_240, 1_048_576, 20 << 20].map(|n| Size(n).to_string());
        assert_eq!(sizes, ["0", "999", "1.0K", "1.0K", "10K", "1.0M", "20M"]);
        assert_eq!(format!("{:>6}", Size(1024)), "  1.0K");
    }

    #[test]
    fn printed_sizes_can_be_parsed() {
        for bytes in [0, 999, 1024, 1536, 20 << 20, 3 << 40] {
            assert_eq!(parse(&Size(bytes).to_string()), Ok(bytes));
        }
    }
}
