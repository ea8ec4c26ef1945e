//! The smallest possible Go program: an ELF file with code, the table of functions, the data of the
//! module and the build information.

/// Names of its functions.
pub(super) const NAMES: [&str; 6] = [
    "crypto/tls.(*Conn).Read",
    "crypto/tls.(*Conn).Write",
    "crypto/tls.(*Conn).writeRecordLocked",
    "crypto/tls.(*Conn).clientHandshake",
    "crypto/tls.(*Conn).serverHandshake",
    "crypto/tls.(*Conn).Close",
];

/// Addresses of its segments.
pub(super) const TEXT: u64 = 0x40_1000;
const DATA: u64 = 0x50_0000;

/// Sizes of the parts of ELF.
const HEADER: u64 = 64;
const PROGRAM_HEADER: u64 = 56;

/// The version of the table of functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Go117,
    Go118,
    /// Its header does not contain the beginning of the code.
    Go126,
}

/// The parts of the program.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) kind: Kind,
    pub(super) version: &'static str,
    /// Position-independent, so that relocations put the addresses in place.
    pub(super) any_address: bool,
    /// Bytes of other code before Go's.
    pub(super) before: u64,
    pub(super) names: [&'static str; 6],
    pub(super) prologues: bool,
    pub(super) write_calls_records: bool,
}

impl Default for Program {
    fn default() -> Self {
        Self {
            kind: Kind::Go118,
            version: "go1.22.3",
            any_address: false,
            before: 0,
            names: NAMES,
            prologues: true,
            write_calls_records: true,
        }
    }
}

/// Some data, with the addresses in it.
#[derive(Default)]
struct Data {
    bytes: Vec<u8>,
    addresses: Vec<(u64, u64)>,
}

impl Data {
    fn here(&self) -> u64 {
        DATA + self.bytes.len() as u64
    }

    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    fn word(&mut self, word: u64) {
        self.bytes.extend(word.to_le_bytes());
    }

    fn half_word(&mut self, word: u64) {
        self.bytes.extend((word as u32).to_le_bytes());
    }

    fn address(&mut self, address: u64) {
        self.addresses.push((self.here(), address));
        self.word(address);
    }
}

impl Program {
    /// Beginnings of its functions, after the start of Go's code; the last place is their end.
    pub(super) const PLACES: [u64; 7] = [0x20, 0x40, 0x60, 0x80, 0xa0, 0xc0, 0xe0];

    /// Returns the place of the code in the file.
    pub(super) fn offset_of_text(&self) -> u64 {
        HEADER + 3 * PROGRAM_HEADER
    }

    fn text_start(&self) -> u64 {
        TEXT + self.before
    }

    /// Returns the file.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let text = self.text();
        let mut data = Data::default();
        self.build_information(&mut data);
        let table = self.table(&mut data);
        self.module(&mut data, table);
        let dynamic = self.dynamic(&mut data);
        let text_at = self.offset_of_text();
        let data_at = text_at + text.len() as u64;
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(16, 0);
        // An executable or shared object for x86-64, with program headers and no sections.
        file.extend([if self.any_address { 3 } else { 2 }, 0, 62, 0, 1, 0, 0, 0]);
        for word in [TEXT, HEADER, 0] {
            file.extend(word.to_le_bytes());
        }
        file.extend([0, 0, 0, 0, 64, 0, 56, 0, 3, 0, 64, 0, 0, 0, 0, 0]);
        let dynamic = (DATA + dynamic.0, dynamic.1);
        for (kind, flags, offset, address, size) in [
            (1, 5, text_at, TEXT, text.len() as u64),
            (1, 6, data_at, DATA, data.bytes.len() as u64),
            (2, 6, data_at + dynamic.0 - DATA, dynamic.0, dynamic.1),
        ] {
            file.extend(u32::to_le_bytes(kind));
            file.extend(u32::to_le_bytes(flags));
            for word in [offset, address, address, size, size, 1] {
                file.extend(word.to_le_bytes());
            }
        }
        [file, text, data.bytes].concat()
    }

    /// Returns functions that check for stack, call or not, and return at two places.
    fn text(&self) -> Vec<u8> {
        let mut text = vec![0xcc; self.before as usize];
        text.resize(text.len() + Self::PLACES[0] as usize, 0xcc);
        for (index, pair) in Self::PLACES.windows(2).enumerate() {
            let end = text.len() + (pair[1] - pair[0]) as usize;
            // cmp rsp, [r14+10h]; jbe to the last jump
            let check: &[u8] = &[0x49, 0x3b, 0x66, 0x10, 0x76, 0x08];
            text.extend(if self.prologues { check } else { &[0x90; 6] });
            // The call of the next function in the table, or of the function after it.
            let forward = if index == 1 && !self.write_calls_records { 2 } else { 1 };
            let distance: i32 = 0x20 * forward - 11;
            text.push(0xe8);
            text.extend(distance.to_le_bytes());
            // test rax, rax and so on would be here; ret; nop; ret; jmp to the start
            text.extend([0xc3, 0x90, 0xc3, 0xeb, 0xf0]);
            text.resize(end, 0xcc);
        }
        text
    }

    fn build_information(&self, data: &mut Data) {
        // Not at the beginning of the segment.
        data.bytes.resize(0x40, 0x5a);
        data.bytes.extend(b"\xff Go buildinf:\x08");
        if self.kind == Kind::Go117 {
            data.bytes.push(0);
            let string = data.here() + 16;
            data.address(string);
            data.word(0);
            let text = string + 16;
            data.address(text);
            data.word(self.version.len() as u64);
        } else {
            data.bytes.push(2);
            data.bytes.resize(0x60, 0);
            data.bytes.push(self.version.len() as u8);
        }
        data.bytes.extend(self.version.as_bytes());
        data.align(32);
    }

    /// Returns the address of the table.
    fn table(&self, data: &mut Data) -> u64 {
        let address = data.here();
        let (magic, old) = match self.kind {
            Kind::Go117 => (0xffff_fffa_u32, true),
            Kind::Go118 => (0xffff_fff0, false),
            Kind::Go126 => (0xffff_fff1, false),
        };
        let names: Vec<u8> =
            self.names.iter().flat_map(|name| [name.as_bytes(), b"\0"].concat()).collect();
        data.bytes.extend(magic.to_le_bytes());
        data.bytes.extend([0, 0, 1, 8]);
        data.word(6);
        data.word(1);
        let header = if old { 64 } else { 72 };
        match self.kind {
            Kind::Go117 => {}
            Kind::Go118 => data.address(self.text_start()),
            Kind::Go126 => data.word(0),
        }
        let functions = (header + names.len() as u64).next_multiple_of(8);
        for offset in [header, 0, 0, 0, functions] {
            data.word(offset);
        }
        data.bytes.extend(&names);
        data.align(8);
        let pairs = 7 * if old { 16 } else { 8 };
        let mut name = 0;
        for (index, start) in Self::PLACES.into_iter().enumerate() {
            let place = pairs + 16 * index as u64;
            if old {
                data.address(self.text_start() + start);
                data.word(place);
            } else {
                data.half_word(start);
                data.half_word(place);
            }
        }
        for (index, start) in Self::PLACES[..6].iter().enumerate() {
            if old {
                data.address(self.text_start() + start);
            } else {
                data.half_word(*start);
            }
            data.half_word(name);
            // The other fields of the function's data.
            data.bytes.resize(data.bytes.len() + if old { 4 } else { 8 }, 0);
            name += self.names[index].len() as u64 + 1;
        }
        data.align(8);
        address
    }

    fn module(&self, data: &mut Data, table: u64) {
        let start = data.bytes.len();
        data.address(table);
        data.bytes.resize(start + 160, 0);
        data.address(self.text_start() + Self::PLACES[0]);
        data.address(self.text_start() + Self::PLACES[6]);
        data.address(self.text_start());
        data.address(self.text_start() + Self::PLACES[6]);
    }

    /// Returns the relocations, if wanted, and the dynamic section with its place and size.
    fn dynamic(&self, data: &mut Data) -> (u64, u64) {
        const RELA: u64 = 7;
        const RELA_SIZE: u64 = 8;
        const RELATIVE: u64 = 8;
        let table = data.here();
        let addresses = std::mem::take(&mut data.addresses);
        let count = if self.any_address { addresses.len() as u64 } else { 0 };
        if self.any_address {
            for &(place, address) in &addresses {
                let at = (place - DATA) as usize;
                data.bytes[at..at + 8].fill(0);
                for word in [place, RELATIVE, address] {
                    data.word(word);
                }
            }
        }
        let start = data.bytes.len() as u64;
        for word in [RELA, table, RELA_SIZE, 24 * count, 0, 0] {
            data.word(word);
        }
        (start, 48)
    }
}
