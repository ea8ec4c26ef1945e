//! Functions of real libraries, from `testdata/placement`, and their expected sites.

use std::fmt::Write as _;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::super::{Image, Unplaced, Wanted, Width, place};

/// Returns the wanted values of each function: the same as the recorder's.
fn wanted(function: &str) -> Wanted<'static> {
    use Width::{Int, Long};
    let (arguments, result): (&[Width], _) = match function {
        "SSL_read" | "SSL_write" => (&[Long, Long, Int], Some(Int)),
        "SSL_read_ex"
        | "SSL_write_ex"
        | "SSL_write_ex2"
        | "SSL_read_early_data"
        | "SSL_write_early_data" => (&[Long, Long, Long, Long], Some(Int)),
        "SSL_sendfile" => (&[Long], Some(Long)),
        "SSL_do_handshake" | "SSL_connect" | "SSL_accept" => (&[Long], Some(Int)),
        "SSL_set_fd" => (&[Long, Int], None),
        "SSL_ctrl" => (&[Long, Int, Long, Long], None),
        _ => (&[Long], None),
    };
    Wanted { arguments, result }
}

fn number(text: &str) -> u64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/placement")
}

/// A function of the corpus.
struct Body {
    name: String,
    range: Range<u64>,
    segments: Vec<(u64, Vec<u8>)>,
}

fn read(path: &Path) -> Vec<Body> {
    let mut bodies: Vec<Body> = Vec::new();
    for line in fs::read_to_string(path).unwrap().lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [] | ["#", ..] => {}
            ["function", name, start, size] => {
                let (name, start) = (name.to_owned(), number(start));
                let range = start..start + number(size);
                bodies.push(Body { name, range, segments: Vec::new() });
            }
            ["code", start] => {
                bodies.last_mut().unwrap().segments.push((number(start), Vec::new()));
            }
            [hex] => {
                let bytes = (0..hex.len()).step_by(2).map(|at| number(&hex[at..at + 2]) as u8);
                bodies.last_mut().unwrap().segments.last_mut().unwrap().1.extend(bytes);
            }
            _ => panic!("{}: {line}", path.display()),
        }
    }
    bodies
}

/// Returns the sites of a function, or why it has none, in one line.
fn sites(body: &Body) -> String {
    let segments = body.segments.iter().map(|(start, bytes)| (*start, bytes.as_slice())).collect();
    let placement = match place(&Image { segments }, body.range.clone(), wanted(&body.name)) {
        Ok(placement) => placement,
        Err(reason) => return reason.to_string(),
    };
    let stepped = |emulated: bool| if emulated { "" } else { ", stepped" };
    let entry = placement.entry;
    let offset = |address: u64| address.wrapping_sub(body.range.start);
    let mut line = format!(
        "entry +{:#x}-{:#x}{}",
        offset(entry.address),
        entry.frame,
        stepped(entry.emulated)
    );
    for exit in placement.exits {
        let (at, frame) = (offset(exit.address), exit.frame);
        write!(line, "; exit +{at:#x}-{frame:#x} {}{}", exit.result, stepped(exit.emulated))
            .unwrap();
    }
    line
}

#[test]
fn functions_of_real_libraries_get_the_expected_sites() {
    let expected = fs::read_to_string(folder().join("expected.txt")).unwrap();
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut found = String::new();
    for file in files {
        let build = file.file_stem().unwrap().to_str().unwrap();
        if build == "expected" || file.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        writeln!(found, "== {build}").unwrap();
        for body in read(&file) {
            writeln!(found, "{:22} {}", body.name, sites(&body)).unwrap();
        }
    }
    assert!(found == expected, "expected.txt does not say what was found, which is\n{found}");
}

#[test]
fn bodies_cut_anywhere_are_placed_within_what_is_left_or_refused() {
    for body in read(&folder().join("debian12-libssl-3.0.22.txt")) {
        let (start, code) = &body.segments[0];
        for length in 0..code.len() {
            let image = Image { segments: vec![(*start, &code[..length])] };
            let end = start + length as u64;
            match place(&image, body.range.clone(), wanted(&body.name)) {
                Ok(placement) => {
                    assert!(placement.entry.address < end);
                    assert!(placement.exits.iter().all(|exit| exit.address < end));
                }
                Err(Unplaced::NoCode(at)) => assert!(at >= 0 && at as usize <= code.len()),
                Err(Unplaced::Undecodable(at)) => assert!((at as usize) < length),
                Err(_) => {}
            }
        }
    }
}
