//! Integers with a prefix (RFC 7541 section 5.1).

use super::error::Error;

/// The most octets that follow the prefix. Five hold 32 bits, and all integers here count bytes or
/// entries.
const MAX_OCTETS: usize = 5;

/// Reads an integer that begins in the lowest `prefix` bits of the first octet, and takes it off
/// `bytes`.
pub(super) fn read(bytes: &mut &[u8], prefix: u8) -> Result<usize, Error> {
    let (&first, mut rest) = bytes.split_first().ok_or(Error::Truncated)?;
    let mask = (1u16 << prefix) - 1;
    let small = u16::from(first) & mask;
    let mut value = u64::from(small);
    if small == mask {
        for octet in 0.. {
            if octet == MAX_OCTETS {
                return Err(Error::Integer);
            }
            let (&next, tail) = rest.split_first().ok_or(Error::Truncated)?;
            rest = tail;
            value += u64::from(next & 0x7f) << (7 * octet);
            if next & 0x80 == 0 {
                break;
            }
        }
    }
    *bytes = rest;
    u32::try_from(value).map(|value| value as usize).map_err(|_| Error::Integer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut bytes: &[u8], prefix: u8) -> Result<(usize, usize), Error> {
        read(&mut bytes, prefix).map(|value| (value, bytes.len()))
    }

    #[test]
    fn examples_of_rfc_7541_appendix_c_1() {
        assert_eq!(all(&[0b1110_1010], 5), Ok((10, 0)));
        assert_eq!(all(&[0b0001_1111, 0b1001_1010, 0b0000_1010], 5), Ok((1337, 0)));
        assert_eq!(all(&[42, 99], 8), Ok((42, 1)));
    }

    #[test]
    fn boundaries_of_each_prefix() {
        for prefix in 1..=8u8 {
            let mask = ((1u16 << prefix) - 1) as u8;
            assert_eq!(all(&[mask - 1], prefix), Ok((usize::from(mask) - 1, 0)));
            assert_eq!(all(&[mask, 0], prefix), Ok((usize::from(mask), 0)));
            // Zeros above the value are wasteful and allowed.
            assert_eq!(all(&[mask, 0x81, 0x80, 0], prefix), Ok((usize::from(mask) + 1, 0)));
        }
    }

    #[test]
    fn overflow_is_an_error_and_a_truncated_integer_incomplete() {
        assert_eq!(all(&[0x7f, 0x80, 0xff, 0xff, 0xff, 0x0f], 7), Ok((u32::MAX as usize, 0)));
        assert_eq!(all(&[0x7f, 0x81, 0xff, 0xff, 0xff, 0x0f], 7), Err(Error::Integer));
        assert_eq!(all(&[0x7f, 0x80, 0x80, 0x80, 0x80, 0x80, 0], 7), Err(Error::Integer));
        for cut in 0..5 {
            assert_eq!(all(&[0x7f, 0x80, 0xff, 0xff, 0xff, 0x0f][..cut], 7), Err(Error::Truncated));
        }
    }
}
