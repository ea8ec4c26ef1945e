//! The known part of the dynamic table (RFC 7541 sections 2.3.2 and 4).

use std::collections::VecDeque;

/// The initial size of a table (RFC 9113 section 6.5.2).
pub(super) const DEFAULT_SIZE: usize = 4096;

/// The size of an entry beyond its octets (section 4.1).
const OVERHEAD: usize = 32;

/// The most that is kept of a table, counted as in section 4.1. Browsers ask for 64 KiB.
pub(super) const MAX_KEPT: usize = 256 << 10;

/// The result of a look-up by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lookup<T> {
    Known(T),
    /// An entry that was not seen, or is no longer kept.
    Unknown,
    /// The encoder has no such entry.
    Invalid,
}

#[derive(Debug)]
struct Entry {
    /// Place of its first octet, counted from the first octet that the table ever held.
    start: u64,
    /// `None` if the name is unknown.
    name_len: Option<usize>,
    value_len: usize,
}

impl Entry {
    /// Returns the size by section 4.1. The size is smaller if the name is unknown, so that the
    /// entry is forgotten too late rather than too early.
    fn size(&self) -> usize {
        self.name_len.unwrap_or(0) + self.value_len + OVERHEAD
    }

    fn octets(&self) -> usize {
        self.name_len.unwrap_or(0) + self.value_len
    }
}

/// The table. The octets of all entries are in one buffer, the oldest first; octets of evicted
/// entries are removed when they are most of the buffer.
#[derive(Debug)]
pub(super) struct Table {
    octets: Vec<u8>,
    /// Place of the first octet of `octets`.
    base: u64,
    /// The oldest first.
    entries: VecDeque<Entry>,
    /// Sum of the sizes of `entries`. Never more than `MAX_KEPT`.
    size: usize,
    /// The limit set by the encoder; `None` if it may have changed unseen.
    limit: Option<usize>,
    /// The encoder has no entry that is not in `entries`.
    complete: bool,
}

impl Table {
    /// Returns the table at the beginning of a connection.
    pub(super) fn new() -> Self {
        Self { limit: Some(DEFAULT_SIZE), complete: true, ..Self::unknown() }
    }

    /// Returns a table with unknown contents.
    pub(super) fn unknown() -> Self {
        Self {
            octets: Vec::new(),
            base: 0,
            entries: VecDeque::new(),
            size: 0,
            limit: None,
            complete: false,
        }
    }

    /// Processes the loss of instructions: positions have moved by an unknown number, and the size
    /// may have changed.
    pub(super) fn forget(&mut self) {
        self.clear();
        self.limit = None;
        self.complete = false;
    }

    /// Returns name and value of the entry that was inserted `age` insertions before the newest
    /// entry.
    pub(super) fn get(&self, age: usize) -> Lookup<(Option<&[u8]>, &[u8])> {
        let place = self.entries.len().checked_sub(age + 1);
        let Some(entry) = place.and_then(|place| self.entries.get(place)) else {
            return if self.complete { Lookup::Invalid } else { Lookup::Unknown };
        };
        let octets = &self.octets[self.place(entry)..];
        let name = entry.name_len.map(|len| &octets[..len]);
        let value = &octets[entry.name_len.unwrap_or(0)..entry.octets()];
        Lookup::Known((name, value))
    }

    /// Inserts an entry.
    pub(super) fn insert(&mut self, name: Option<&[u8]>, value: &[u8]) {
        let start = self.base + self.octets.len() as u64;
        let entry = Entry { start, name_len: name.map(<[u8]>::len), value_len: value.len() };
        self.octets.extend_from_slice(name.unwrap_or_default());
        self.octets.extend_from_slice(value);
        self.add(entry);
    }

    /// Inserts an entry with the name of another entry.
    pub(super) fn insert_like(&mut self, age: usize, value: &[u8]) {
        let other = self.entries.len().checked_sub(age + 1).and_then(|at| self.entries.get(at));
        let name = other.and_then(|other| Some((self.place(other), other.name_len?)));
        let start = self.base + self.octets.len() as u64;
        if let Some((at, len)) = name {
            self.octets.extend_from_within(at..at + len);
        }
        let entry = Entry { start, name_len: name.map(|(_, len)| len), value_len: value.len() };
        self.octets.extend_from_slice(value);
        self.add(entry);
    }

    /// Processes a change of the size by the encoder (section 6.3).
    pub(super) fn resize(&mut self, limit: usize) {
        self.limit = Some(limit);
        if limit == 0 {
            self.clear();
            self.complete = true;
        }
        self.evict(0);
    }

    /// Adds an entry whose octets are at the end of the buffer; the source of the copy can be
    /// evicted now.
    fn add(&mut self, entry: Entry) {
        let size = entry.size();
        self.evict(size);
        if size > self.room() {
            // Section 4.4: this is not an error, and the table is empty afterwards. An entry that
            // is only too large to be kept here also removes the older entries, so that positions
            // stay right.
            self.complete = self.limit.is_some_and(|limit| size > limit);
            self.clear();
            return;
        }
        self.size += size;
        self.entries.push_back(entry);
        self.compact();
    }

    /// Makes room for an entry of this size.
    fn evict(&mut self, size: usize) {
        while self.size + size > self.room() {
            let Some(oldest) = self.entries.pop_front() else { return };
            self.size -= oldest.size();
            // An eviction by the encoder leaves no older entries.
            self.complete = self.limit.is_some_and(|limit| limit <= MAX_KEPT);
        }
    }

    /// Returns the size up to which the table may grow.
    fn room(&self) -> usize {
        self.limit.unwrap_or(MAX_KEPT).min(MAX_KEPT)
    }

    fn place(&self, entry: &Entry) -> usize {
        (entry.start - self.base) as usize
    }

    fn clear(&mut self) {
        self.base += self.octets.len() as u64;
        self.octets.clear();
        self.entries.clear();
        self.size = 0;
    }

    /// Moves the live octets, which costs less than the writes since the last move.
    fn compact(&mut self) {
        let Some(first) = self.entries.front() else { return };
        let dead = self.place(first);
        if dead > self.octets.len() / 2 && dead > DEFAULT_SIZE {
            self.octets.drain(..dead);
            self.base += dead as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(table: &Table, age: usize) -> Lookup<Vec<u8>> {
        match table.get(age) {
            Lookup::Known((_, value)) => Lookup::Known(value.to_vec()),
            Lookup::Unknown => Lookup::Unknown,
            Lookup::Invalid => Lookup::Invalid,
        }
    }

    #[test]
    fn the_oldest_are_evicted_by_size() {
        let mut table = Table::new();
        table.resize(3 * 34);
        for octet in b'a'..=b'd' {
            table.insert(Some(b"n"), &[octet]);
        }
        let values: Vec<_> = (0..4).map(|age| value(&table, age)).collect();
        let known = |octet: u8| Lookup::Known(vec![octet]);
        assert_eq!(values, [known(b'd'), known(b'c'), known(b'b'), Lookup::Invalid]);
        table.resize(34);
        assert_eq!((value(&table, 0), value(&table, 1)), (known(b'd'), Lookup::Invalid));
        table.insert_like(0, b"xy");
        assert_eq!(value(&table, 0), Lookup::Invalid);
    }

    #[test]
    fn a_name_is_copied_before_its_entry_is_evicted() {
        let mut table = Table::new();
        table.resize(40);
        table.insert(Some(b"name"), b"1");
        table.insert_like(0, b"2");
        assert_eq!(table.get(0), Lookup::Known((Some(&b"name"[..]), &b"2"[..])));
    }

    #[test]
    fn unseen_entries_stay_unknown() {
        let mut table = Table::unknown();
        assert_eq!(value(&table, 0), Lookup::Unknown);
        table.insert_like(7, b"v");
        assert_eq!(table.get(0), Lookup::Known((None, &b"v"[..])));
        // The largest possible table: its size is unknown, so the entry stays.
        for _ in 0..1000 {
            table.insert(Some(b"n"), b"w");
        }
        assert_eq!(value(&table, 1000), Lookup::Known(b"v".to_vec()));
        assert_eq!(value(&table, 1001), Lookup::Unknown);
        table.forget();
        assert_eq!(value(&table, 0), Lookup::Unknown);
    }

    #[test]
    fn an_emptied_or_overflowed_table_is_known_again() {
        let mut table = Table::unknown();
        table.insert(Some(b"n"), b"v");
        table.resize(0);
        table.resize(100);
        assert_eq!(value(&table, 0), Lookup::Invalid);
        let mut table = Table::unknown();
        table.resize(70);
        table.insert(Some(b"n"), b"1");
        assert_eq!(value(&table, 1), Lookup::Unknown);
        table.insert(Some(b"n"), b"2");
        table.insert(Some(b"n"), b"3");
        assert_eq!(value(&table, 2), Lookup::Invalid);
    }

    #[test]
    fn kept_entries_are_bounded_for_any_agreed_size() {
        let mut table = Table::new();
        table.resize(1 << 30);
        let large = vec![b'x'; 20_000];
        for _ in 0..100 {
            table.insert(Some(b"n"), &large);
        }
        assert!(table.size <= MAX_KEPT && table.octets.capacity() <= 4 * MAX_KEPT);
        assert_eq!(value(&table, 12), Lookup::Known(large));
        assert_eq!(value(&table, 13), Lookup::Unknown);
        table.insert(Some(b"n"), &vec![b'x'; MAX_KEPT]);
        assert_eq!((value(&table, 0), table.entries.len()), (Lookup::Unknown, 0));
    }

    #[test]
    fn octets_of_evicted_entries_are_removed() {
        let mut table = Table::new();
        for round in 0..100_000u32 {
            table.insert(Some(b"name"), &round.to_le_bytes());
        }
        assert!(table.octets.capacity() < 64 << 10, "{}", table.octets.capacity());
        assert_eq!(value(&table, 99), Lookup::Known(99_900u32.to_le_bytes().to_vec()));
    }
}
