//! The decoder with the examples of RFC 7541, and with truncated, split and hostile blocks.

use super::{Decoder, Defect, Error, Sink};

#[derive(Debug, Default, PartialEq, Eq)]
struct Fields {
    all: Vec<(String, String)>,
    defects: Vec<Defect>,
    sizes: Vec<usize>,
}

impl Sink for Fields {
    fn field(&mut self, name: Option<&[u8]>, value: Option<&[u8]>) {
        let text = |part: Option<&[u8]>| {
            part.map_or("?".to_owned(), |part| String::from_utf8_lossy(part).into_owned())
        };
        self.all.push((text(name), text(value)));
    }

    fn defect(&mut self, defect: Defect) {
        self.defects.push(defect);
    }

    fn table_size(&mut self, len_bytes: usize) {
        self.sizes.push(len_bytes);
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pairs = digits.chunks(2);
    pairs.map(|p| u8::from_str_radix(std::str::from_utf8(p).unwrap(), 16).unwrap()).collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, Error> {
    let mut fields = Fields::default();
    decoder.decode(block, &mut fields).map(|()| fields)
}

fn lines(decoder: &mut Decoder, block: &str) -> String {
    let fields = decode(decoder, &hex(block)).unwrap();
    assert_eq!(fields.defects, []);
    fields.all.iter().map(|(name, value)| format!("{name}: {value}\n")).collect()
}

/// Blocks of a connection and their fields.
type Example = &'static [(&'static str, &'static str)];

const REQUESTS: [Example; 2] = [
    // Appendix C.3.
    &[
        (
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\n",
        ),
        (
            "8286 84be 5808 6e6f 2d63 6163 6865",
            ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\n\
             cache-control: no-cache\n",
        ),
        (
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
            ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\n\
             custom-key: custom-value\n",
        ),
    ],
    // Appendix C.4.
    &[
        (
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\n",
        ),
        (
            "8286 84be 5886 a8eb 1064 9cbf",
            ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\n\
             cache-control: no-cache\n",
        ),
        (
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
            ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\n\
             custom-key: custom-value\n",
        ),
    ],
];

const FIRST_RESPONSE: &str = ":status: 302\ncache-control: private\n\
    date: Mon, 21 Oct 2013 20:13:21 GMT\nlocation: https://www.example.com\n";
const SECOND_RESPONSE: &str = ":status: 307\ncache-control: private\n\
    date: Mon, 21 Oct 2013 20:13:21 GMT\nlocation: https://www.example.com\n";
const THIRD_RESPONSE: &str = ":status: 200\ncache-control: private\n\
    date: Mon, 21 Oct 2013 20:13:22 GMT\nlocation: https://www.example.com\n\
    content-encoding: gzip\n\
    set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1\n";

const RESPONSES: [Example; 2] = [
    // Appendix C.5.
    &[
        (
            "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133
             2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70
             6c65 2e63 6f6d",
            FIRST_RESPONSE,
        ),
        ("4803 3330 37c1 c0bf", SECOND_RESPONSE),
        (
            "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d
             54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049
             5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e
             3d31",
            THIRD_RESPONSE,
        ),
    ],
    // Appendix C.6.
    &[
        (
            "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6
             2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
            FIRST_RESPONSE,
        ),
        ("4883 640e ffc1 c0bf", SECOND_RESPONSE),
        (
            "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab
             77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f
             9587 3160 65c0 03ed 4ee5 b106 3d50 07",
            THIRD_RESPONSE,
        ),
    ],
];

#[test]
fn literals_of_appendix_c_2() {
    for (block, meaning) in [
        (
            "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
            "custom-key: custom-header\n",
        ),
        ("040c 2f73 616d 706c 652f 7061 7468", ":path: /sample/path\n"),
        ("1008 7061 7373 776f 7264 0673 6563 7265 74", "password: secret\n"),
        ("82", ":method: GET\n"),
    ] {
        assert_eq!(lines(&mut Decoder::new(), block), meaning);
    }
}

#[test]
fn requests_of_appendices_c_3_and_c_4() {
    for example in REQUESTS {
        let mut decoder = Decoder::new();
        for (block, meaning) in example {
            assert_eq!(lines(&mut decoder, block), *meaning);
        }
    }
}

#[test]
fn responses_of_appendices_c_5_and_c_6_with_a_table_of_256_octets() {
    for example in RESPONSES {
        let mut decoder = Decoder::new();
        // The examples assume agreement on the size; on a connection the encoder announces it.
        let resized = decode(&mut decoder, &hex("3fe1 01")).unwrap();
        assert_eq!(resized.sizes, [256]);
        for (block, meaning) in example {
            assert_eq!(lines(&mut decoder, block), *meaning);
        }
    }
}

#[test]
fn a_late_decoder_returns_seen_entries_and_nothing_wrong() {
    let mut decoder = Decoder::joining();
    let mut seen = Vec::new();
    for (block, meaning) in &REQUESTS[1][1..] {
        let got = lines(&mut decoder, block);
        for (got, meant) in got.lines().zip(meaning.lines()) {
            assert!(got == meant || got == "?: ?", "{got} for {meant}");
        }
        seen.push(got);
    }
    assert_eq!(
        seen,
        [
            ":method: GET\n:scheme: http\n:path: /\n?: ?\ncache-control: no-cache\n",
            ":method: GET\n:scheme: https\n:path: /index.html\n?: ?\ncustom-key: custom-value\n",
        ]
    );
}

#[test]
fn a_value_is_known_even_if_its_name_is_unknown() {
    let mut decoder = Decoder::joining();
    // Name of entry 62, value "v", inserted; then that entry, and its name with another value.
    assert_eq!(lines(&mut decoder, "7e01 76 be 0f2f 0177"), "?: v\n?: v\n?: w\n");
    decoder.forget();
    assert_eq!(lines(&mut decoder, "be"), "?: ?\n");
}

#[test]
fn every_truncation_is_an_error_or_a_part() {
    for example in REQUESTS.iter().chain(&RESPONSES) {
        let block = hex(example[0].0);
        let whole = decode(&mut Decoder::new(), &block).unwrap();
        for cut in 0..block.len() {
            let mut decoder = Decoder::new();
            let mut part = Fields::default();
            let outcome = decoder.decode(&block[..cut], &mut part);
            assert!(matches!(outcome, Ok(()) | Err(Error::Truncated)), "{outcome:?}");
            assert!(whole.all.starts_with(&part.all) && part.all.len() < whole.all.len());
            if outcome.is_err() {
                // Entries of the missing rest must stay unknown.
                assert_eq!(lines(&mut decoder, "be"), "?: ?\n");
            }
        }
    }
}

#[test]
fn errors_of_endpoints_are_reported_as_defects() {
    let refused = |block: &str| decode(&mut Decoder::new(), &hex(block));
    assert_eq!(refused("80"), Err(Error::IndexZero));
    assert_eq!(refused("ff ffff ffff ff"), Err(Error::Integer));
    assert_eq!(refused("0081 1f"), Err(Error::Truncated));
    assert_eq!(refused("0081 18 0161"), Err(Error::Padding));
    assert_eq!(refused("be").unwrap().defects.len(), 1);
    assert_eq!(refused("0f2f 0161").unwrap().defects.len(), 1);
    let late = refused("82 20").unwrap();
    assert_eq!((late.defects.len(), late.sizes), (1, vec![0]));
    assert_eq!(refused("20 3fe1 1f 82").unwrap().defects.len(), 0);
}

#[test]
fn a_block_of_references_to_a_large_entry_ends() {
    let mut decoder = Decoder::new();
    let mut block = hex("3fe1 ff03 4001 6e7f 81fe 03");
    block.extend(vec![b'v'; 65_408]);
    decode(&mut decoder, &block).unwrap();
    let mut fields = Fields::default();
    assert_eq!(decoder.decode(&[0xbe; 10_000], &mut fields), Err(Error::ListTooLong));
    assert_eq!(fields.all.len(), 16);
}

#[test]
fn the_expansion_of_small_blocks_is_bounded() {
    let mut decoder = Decoder::new();
    let mut large = hex("3fe1 ff03 4001 6e7f 81f6 01");
    large.extend(vec![b'v'; 31_616]);
    let (mut bytes, mut grown, mut blocks) = (0, 0, 0);
    loop {
        let mut fields = Fields::default();
        let block = if blocks == 0 { large.clone() } else { vec![0xbe; 30] };
        bytes += block.len();
        let outcome = decoder.decode(&block, &mut fields);
        grown += fields.all.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        blocks += 1;
        if outcome == Err(Error::Expansion) {
            break;
        }
        outcome.unwrap();
        assert!(blocks < 10_000, "{bytes} octets became {grown}");
    }
    assert!(grown < (16 << 20) + 1000 * bytes);
}
