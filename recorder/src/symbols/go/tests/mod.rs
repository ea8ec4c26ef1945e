//! Hand-made Go programs, for cases that no compiler at hand produces; functions of real programs;
//! and each part's handling of invalid bytes.

mod corpus;
mod program;

use super::code::places;
use super::*;
use program::{Kind, NAMES, Program as Made, TEXT};

fn names(program: &Program) -> Vec<&'static str> {
    program.functions.iter().map(|defined| defined.function().name).collect()
}

fn read_bytes(bytes: &[u8]) -> Result<Option<Program>, String> {
    read(bytes)
}

const ALL: [Kind; 3] = [Kind::Go117, Kind::Go118, Kind::Go126];

#[test]
fn functions_are_found_in_programs_of_each_format() {
    for kind in ALL {
        for any_address in [false, true] {
            let made = Made { kind, any_address, ..Made::default() };
            let bytes = made.bytes();
            let program = read_bytes(&bytes).unwrap().unwrap();
            assert_eq!(names(&program), [NAMES[0], NAMES[2], NAMES[3], NAMES[4], NAMES[5]]);
            for defined in &program.functions {
                let sites = defined.sites.as_ref().unwrap();
                assert_eq!(sites.entry.offset, defined.offset + 4, "{kind:?} {any_address}");
                let exits: Vec<_> = sites.exits.iter().map(|exit| exit.offset).collect();
                assert!(exits.iter().all(|&at| bytes[at as usize] == 0xc3), "{exits:x?}");
                assert!(!exits.is_empty());
            }
        }
    }
}

/// As left by a C compiler's linker that was called to link C code in.
#[test]
fn go_code_may_begin_after_other_code() {
    for kind in ALL {
        let made = Made { kind, before: 0x340, ..Made::default() };
        let program = read_bytes(&made.bytes()).unwrap().unwrap();
        let start = made.offset_of_text() + 0x340 + Made::PLACES[0];
        assert_eq!(program.functions[0].offset, start);
    }
}

#[test]
fn a_program_without_tls_has_nothing_to_probe() {
    let made = Made { names: ["a", "b", "c", "d", "e", "f"], ..Made::default() };
    assert_eq!(read_bytes(&made.bytes()), Ok(None));
    for other in ["/bin/true", "/etc/passwd"] {
        assert_eq!(read_bytes(&std::fs::read(other).unwrap()), Ok(None), "{other}");
    }
}

#[test]
fn a_program_older_than_the_register_abi_is_refused() {
    for version in ["go1.16.15", "go1.16", "devel +0123abc"] {
        let made = Made { kind: Kind::Go117, version, ..Made::default() };
        let reason = read_bytes(&made.bytes()).unwrap_err();
        assert!(reason.contains("Go before 1.17"), "{reason}");
    }
}

/// Garble, for example, removes the version; from 1.18 on the table itself is enough.
#[test]
fn without_a_version_nothing_is_read_from_the_conn() {
    for version in ["unknown", "devel go1.22-0123abc", "go1.18", "go1.20.4", "go1.28.1"] {
        let made = Made { version, ..Made::default() };
        let program = read_bytes(&made.bytes()).unwrap().unwrap();
        assert_eq!(program.layout, Layout::default(), "{version}");
    }
    for version in ["go1.19", "go1.22.1 X:boringcrypto"] {
        let made = Made { version, ..Made::default() };
        let program = read_bytes(&made.bytes()).unwrap().unwrap();
        assert_ne!(program.layout, Layout::default(), "{version}");
    }
}

#[test]
fn write_is_probed_if_it_contains_the_writing_of_records() {
    let made = Made { write_calls_records: false, ..Made::default() };
    let program = read_bytes(&made.bytes()).unwrap().unwrap();
    assert_eq!(names(&program)[1], NAMES[1]);
}

#[test]
fn a_function_that_cannot_be_probed_is_named() {
    let made = Made { prologues: false, ..Made::default() };
    let reason = read_bytes(&made.bytes()).unwrap_err();
    assert_eq!(reason, format!("has a {} that does not begin as Go's functions do", NAMES[0]));
}

#[test]
fn a_cut_program_gives_no_wrong_places() {
    for any_address in [false, true] {
        let bytes = Made { any_address, ..Made::default() }.bytes();
        let whole = read_bytes(&bytes).unwrap().unwrap();
        for length in 0..bytes.len() {
            if let Ok(Some(program)) = read_bytes(&bytes[..length]) {
                assert!(program.functions.iter().all(|f| whole.functions.contains(f)), "{length}");
            }
        }
    }
}

#[test]
fn a_damaged_program_does_no_harm() {
    let bytes = Made { any_address: true, ..Made::default() }.bytes();
    for at in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] = value;
            let _ = read_bytes(&damaged);
        }
    }
}

#[test]
fn versions_are_read_in_all_the_ways_they_are_written() {
    let minor = |text| Version::parse(text).map(|version| version.minor);
    assert_eq!(minor("go1.17"), Some(17));
    assert_eq!(minor("go1.22.3 X:boringcrypto,loopvar"), Some(22));
    assert_eq!(minor("devel go1.23-a1b2c3d Tue"), Some(23));
    assert_eq!(minor("go1.24rc2"), Some(24));
    for none in ["", "unknown", "go1.", "go2.1", "devel +abc"] {
        assert_eq!(minor(none), None, "{none}");
    }
}

/// cmp rsp, [r14+10h]
const CHECK: [u8; 4] = [0x49, 0x3b, 0x66, 0x10];

fn refusal(code: &[u8]) -> String {
    places(code, TEXT..TEXT + code.len() as u64).unwrap_err()
}

fn after_check(rest: &[u8]) -> Vec<u8> {
    [&CHECK[..], rest].concat()
}

#[test]
fn the_entry_is_the_jump_after_the_check_for_stack() {
    let code = after_check(&[0x76, 0x01, 0xc3, 0xeb, 0xf7]);
    let found = places(&code, TEXT..TEXT + 9).unwrap();
    assert_eq!((found.entry, &found.exits[..]), (TEXT + 4, &[TEXT + 6][..]));
    // lea r12, [rsp-50h] first, for a large frame.
    let lea = [&[0x4c, 0x8d, 0x64, 0x24, 0xb0, 0x4d, 0x3b, 0x66, 0x10][..], &code[4..8], &[0xf2]];
    let found = places(&lea.concat(), TEXT..TEXT + 14).unwrap();
    assert_eq!((found.entry, &found.exits[..]), (TEXT + 9, &[TEXT + 11][..]));
}

/// There the limit is found by way of the thread's storage, and arguments are on the stack.
#[test]
fn functions_without_the_register_abi_are_refused() {
    // mov rcx, fs:[-8]; cmp rsp, [rcx+10h]; jbe; ret; jmp
    let code = [0x64, 0x48, 0x8b, 0x0c, 0x25, 0xf8, 0xff, 0xff, 0xff, 0x48, 0x3b, 0x61, 0x10];
    let code = [&code[..], &[0x76, 0x01, 0xc3, 0xeb, 0xee]].concat();
    assert_eq!(refusal(&code), "does not begin as Go's functions do");
}

#[test]
fn functions_with_unreliable_arguments_or_ends_are_refused() {
    // mov rax, rbx before the check.
    let moved = [&[0x48, 0x89, 0xd8][..], &after_check(&[0x76, 0x01, 0xc3, 0xeb, 0xf4])].concat();
    assert_eq!(refusal(&moved), "does not begin as Go's functions do");
    // No jump after the check, another one, none at all.
    assert!(refusal(&after_check(&[0x90, 0xc3])).starts_with("does not begin"));
    assert!(refusal(&after_check(&[0x77, 0x01, 0xc3, 0xeb, 0xf7])).starts_with("does not begin"));
    assert!(refusal(&[]).starts_with("does not begin"));
    // A jump to elsewhere, and one into the middle of an instruction.
    assert_eq!(refusal(&after_check(&[0x76, 0x7e, 0xc3])), "is left by a jump at +0x4");
    let midst = after_check(&[0x76, 0x01, 0xc3, 0xeb, 0xf8]);
    assert_eq!(refusal(&midst), "is left by a jump at +0x7");
    assert_eq!(refusal(&after_check(&[0x76, 0x00, 0xeb, 0xf8])), "never returns");
    // 0x06 was push es.
    let unknown = after_check(&[0x76, 0x01, 0xc3, 0x06]);
    assert_eq!(refusal(&unknown), "has an unknown instruction at +0x7");
}
