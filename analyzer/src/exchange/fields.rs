//! Header and trailer fields, as they were sent.

/// Name and value pairs of a message head or of trailers: order, duplicates and octets as sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    /// Names and values, end to end.
    octets: Vec<u8>,
    /// Length of each name and value.
    lengths: Vec<(u32, u32)>,
}

impl Fields {
    /// Room for so many fields, of so many octets together.
    pub(crate) fn with_capacity(fields: usize, octets: usize) -> Self {
        Self { octets: Vec::with_capacity(octets), lengths: Vec::with_capacity(fields) }
    }

    /// Adds one field. Heads are capped at far below 4 GiB by the parsers; what would not fit is
    /// cut there.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let cut = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let (name_len, value_len) = (cut(name), cut(value));
        self.octets.extend_from_slice(&name[..name_len as usize]);
        self.octets.extend_from_slice(&value[..value_len as usize]);
        self.lengths.push((name_len, value_len));
    }

    /// Appends a further line to the last value: an obsolete line folding, which RFC 9112
    /// section 5.2 replaces by a space.
    pub(crate) fn fold(&mut self, more: &[u8]) -> bool {
        let Some((_, value_len)) = self.lengths.last_mut() else { return false };
        let Ok(grown) = u32::try_from(*value_len as usize + 1 + more.len()) else { return false };
        *value_len = grown;
        self.octets.push(b' ');
        self.octets.extend_from_slice(more);
        true
    }

    /// All fields in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = self.octets.as_slice();
        self.lengths.iter().map(move |&(name_len, value_len)| {
            let (name, tail) = rest.split_at(name_len as usize);
            let (value, tail) = tail.split_at(value_len as usize);
            rest = tail;
            (name, value)
        })
    }

    /// Values of all fields of this name, whatever its case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, v)| v)
    }

    /// Value of the first field of this name.
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, v)| v)
    }

    /// The type in the Content-Type, without parameters (RFC 9110 section 8.3.1).
    pub(crate) fn media_type(&self) -> Option<&[u8]> {
        let value = self.first("content-type")?;
        value.split(|&b| b == b';').next().map(<[u8]>::trim_ascii)
    }

    /// Removes all fields and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.octets.clear();
        self.lengths.clear();
    }

    /// Memory that they take.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.octets.capacity() + self.lengths.capacity() * size_of::<(u32, u32)>()
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }
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
        assert!(fields.fold(b"2"));
        let all: Vec<_> = fields.iter().collect();
        assert_eq!(all, [(&b"A"[..], &b"1"[..]), (b"b", b"\xff"), (b"a", b" 2")]);
        assert_eq!(fields.all("a").collect::<Vec<_>>(), [&b"1"[..], b" 2"]);
        assert!(!Fields::default().fold(b"x"));
    }
}
