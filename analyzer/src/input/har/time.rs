//! Times as HAR writes them (RFC 3339, ISO 8601).

/// Parses a time as nanoseconds since the Unix epoch. A time before it is the epoch.
pub(super) fn parse(text: &str) -> Option<u64> {
    let (date, rest) = text.split_at_checked(10)?;
    let (year, month, day) = (digits(date, 0, 4)?, digits(date, 5, 2)?, digits(date, 8, 2)?);
    let separators = (date.as_bytes().get(4)?, date.as_bytes().get(7)?);
    if separators != (&b'-', &b'-') || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, rest) = rest.split_at_checked(8)?;
    let (hour, minute, second) = (digits(clock, 0, 2)?, digits(clock, 3, 2)?, digits(clock, 6, 2)?);
    let separators = (clock.as_bytes().get(2)?, clock.as_bytes().get(5)?);
    if separators != (&b':', &b':') || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction_ns, rest) = fraction(rest);
    let offset_s = offset(rest)?;
    let days = days_since_epoch(year, month, day);
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset_s;
    let ns = i128::from(seconds) * 1_000_000_000 + i128::from(fraction_ns);
    Some(u64::try_from(ns.max(0)).unwrap_or(u64::MAX))
}

fn digits(text: &str, at: usize, len: usize) -> Option<i64> {
    let digits = text.get(at..at + len)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Returns the fraction of a second in nanoseconds, and the rest.
fn fraction(text: &str) -> (u64, &str) {
    let Some(rest) = text.strip_prefix(['.', ',']) else { return (0, text) };
    let end = rest.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, rest) = rest.split_at(end);
    let ns = (0..9).fold(0, |ns, at| {
        ns * 10 + digits.as_bytes().get(at).map_or(0, |digit| u64::from(digit - b'0'))
    });
    (ns, rest)
}

/// Returns the seconds by which a time zone is ahead of UTC. A time without zone is in UTC.
fn offset(text: &str) -> Option<i64> {
    let (sign, rest) = match text.as_bytes() {
        [] | [b'Z' | b'z'] => return Some(0),
        [b'+', ..] => (1, text.get(1..)?),
        [b'-', ..] => (-1, text.get(1..)?),
        _ => return None,
    };
    let minutes_at = if rest.as_bytes().get(2) == Some(&b':') { 3 } else { 2 };
    let minutes = if rest.len() == 2 { 0 } else { digits(rest, minutes_at, 2)? };
    Some(sign * (digits(rest, 0, 2)? * 3600 + minutes * 60))
}

/// Returns the days from 1970-01-01 to a date of the Gregorian calendar, in eras of 400 years that
/// begin in March.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Rfc3339;

    #[test]
    fn times_of_all_programs_are_read() {
        for (text, ns) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2023-11-14T22:13:20.004Z", 1_700_000_000_004_000_000),
            ("2023-11-14T22:13:20.004000001Z", 1_700_000_000_004_000_001),
            ("2023-11-14T22:13:20.0040000019Z", 1_700_000_000_004_000_001),
            ("2023-11-15T00:13:20.004+02:00", 1_700_000_000_004_000_000),
            ("2023-11-14T14:43:20-0730", 1_700_000_000_000_000_000),
            ("2023-11-14T21:13:20-01", 1_700_000_000_000_000_000),
            ("2023-11-14 22:13:20", 1_700_000_000_000_000_000),
            ("2024-02-29T12:00:00Z", 1_709_208_000_000_000_000),
            ("1969-12-31T23:59:59Z", 0),
        ] {
            assert_eq!(parse(text), Some(ns), "{text}");
        }
        for text in [
            "",
            "2023",
            "2023-11-14",
            "2023-13-14T22:13:20Z",
            "2023-11-14T25:13:20Z",
            "2023-11-14T22:13:20X",
            "2023-11-14T22:13:20+1",
            "2023/11/14T22:13:20Z",
            "\u{e9}023-11-14T22:13:20Z",
            "2023-11-14T22:13:2\u{e9}Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_written_time_is_read_back() {
        for seconds in (0..4_000_000_000u64).step_by(12_345_677) {
            let ns = seconds * 1_000_000_000 + seconds % 1_000_000_000;
            assert_eq!(parse(&Rfc3339(ns).to_string()), Some(ns));
        }
    }
}
