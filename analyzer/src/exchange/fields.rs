//! Header and trailer fields, as sent.

/// Lengths of a name and of its value.
type Lengths = [u8; 8];

/// Name and value pairs of a message head or of trailers: order, duplicates and octets as sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    /// For each field the lengths, the name and the value, concatenated. A capture has millions of
    /// fields, and a single allocation is faster than two.
    octets: Vec<u8>,
    count: usize,
    /// Offset of the last field.
    last: usize,
}

impl Fields {
    /// Creates an empty list with room for so many fields of so many octets in total.
    pub(crate) fn with_capacity(fields: usize, octets: usize) -> Self {
        let len = octets + fields * size_of::<Lengths>();
        Self { octets: Vec::with_capacity(len), ..Self::default() }
    }

    /// Adds a field. Parsers limit heads to far below 4 GiB; longer data is cut.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let cut = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let (name_len, value_len) = (cut(name), cut(value));
        self.last = self.octets.len();
        self.count += 1;
        self.octets.extend_from_slice(&lengths(name_len, value_len));
        self.octets.extend_from_slice(&name[..name_len as usize]);
        self.octets.extend_from_slice(&value[..value_len as usize]);
    }

    /// Appends a further line to the last value: an obsolete line folding, which RFC 9112 section
    /// 5.2 replaces by a space. Whitespace around a value is not part of it (section 5), so that an
    /// empty value or line adds no space.
    pub(crate) fn fold(&mut self, more: &[u8]) -> bool {
        let Some((last, _)) = self.octets[self.last..].split_first_chunk_mut() else {
            return false;
        };
        let (name_len, value_len) = split(*last);
        let space: &[u8] = if value_len > 0 && !more.is_empty() { b" " } else { b"" };
        let grown = value_len as usize + space.len() + more.len();
        let Ok(grown) = u32::try_from(grown) else { return false };
        *last = lengths(name_len, grown);
        self.octets.extend_from_slice(space);
        self.octets.extend_from_slice(more);
        true
    }

    /// Iterates over all fields in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = self.octets.as_slice();
        std::iter::from_fn(move || {
            let (both, octets) = rest.split_first_chunk()?;
            let (name_len, value_len) = split(*both);
            let (name, tail) = octets.split_at(name_len as usize);
            let (value, tail) = tail.split_at(value_len as usize);
            rest = tail;
            Some((name, value))
        })
    }

    /// Iterates over the values of all fields of this name, ignoring case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, v)| v)
    }

    /// Returns the value of the first field of this name.
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, v)| v)
    }

    /// Returns the media type of Content-Type, without parameters (RFC 9110 section 8.3.1).
    pub fn media_type(&self) -> Option<&[u8]> {
        let value = self.first("content-type")?;
        value.split(|&b| b == b';').next().map(<[u8]>::trim_ascii)
    }

    /// Removes all fields and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.octets.clear();
        (self.count, self.last) = (0, 0);
    }

    /// Returns the memory of the fields in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.octets.capacity()
    }

    /// Returns the number of fields.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Returns whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

fn lengths(name: u32, value: u32) -> Lengths {
    ((u64::from(name) << 32) | u64::from(value)).to_ne_bytes()
}

fn split(lengths: Lengths) -> (u32, u32) {
    let both = u64::from_ne_bytes(lengths);
    ((both >> 32) as u32, both as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_order_duplicates_and_octets() {
        let mut fields = Fields::default();
        fields.push(b"A", b"1");
        fields.push(b"b", b"\xff");
        fields.push(b"a", b"");
        let all: Vec<_> = fields.iter().collect();
        assert_eq!(all, [(&b"A"[..], &b"1"[..]), (b"b", b"\xff"), (b"a", b"")]);
        assert_eq!(fields.all("a").collect::<Vec<_>>(), [&b"1"[..], b""]);
    }

    #[test]
    fn folded_lines_are_joined_by_single_spaces_without_any_around_the_value() {
        for (lines, value) in [
            (&[&b""[..], b"2"][..], &b"2"[..]),
            (&[b"", b"", b"2", b"", b"3", b""], b"2 3"),
            (&[b"1", b""], b"1"),
            (&[b"", b""], b""),
        ] {
            let mut fields = Fields::default();
            fields.push(b"a", lines[0]);
            assert!(lines[1..].iter().all(|line| fields.fold(line)));
            assert_eq!(fields.iter().collect::<Vec<_>>(), [(&b"a"[..], value)]);
        }
        assert!(!Fields::default().fold(b"x"));
    }
}
