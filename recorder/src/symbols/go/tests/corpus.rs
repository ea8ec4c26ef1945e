//! Functions of real programs, from `testdata/go`, with the places that objdump finds in them.

use std::fs;
use std::path::Path;

use super::super::code::places;

fn number(text: &str) -> u64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
}

#[derive(Debug, Default)]
struct Body {
    name: String,
    start: u64,
    size: u64,
    entry: u64,
    exits: Vec<u64>,
    code: Vec<u8>,
}

fn read(path: &Path) -> Vec<Body> {
    let mut bodies: Vec<Body> = Vec::new();
    for line in fs::read_to_string(path).unwrap().lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["function", name, start, size] = words[..] {
            let (name, start, size) = (name.to_owned(), number(start), number(size));
            bodies.push(Body { name, start, size, ..Body::default() });
            continue;
        }
        let Some(body) = bodies.last_mut() else { continue };
        match words[..] {
            [] | ["#", ..] | ["code", _] => {}
            ["entry", entry] => body.entry = number(entry),
            ["exits", ref exits @ ..] => body.exits = exits.iter().map(|e| number(e)).collect(),
            [hex] => {
                let bytes = (0..hex.len()).step_by(2).map(|at| number(&hex[at..at + 2]) as u8);
                body.code.extend(bytes);
            }
            _ => panic!("{}: {line}", path.display()),
        }
    }
    bodies
}

#[test]
fn functions_of_each_version_have_the_places_that_objdump_finds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/go");
    let mut builds = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        builds += 1;
        let bodies = read(&path);
        // Programs that are only a server, or only a client, lack one of the handshakes.
        assert!(bodies.len() >= 5, "{}", path.display());
        for body in bodies {
            let what = format!("{} of {}", body.name, path.display());
            assert_eq!(body.code.len() as u64, body.size, "{what}");
            let found = places(&body.code, body.start..body.start + body.size).expect(&what);
            assert_eq!(found.entry, body.entry, "{what}");
            assert_eq!(found.exits, body.exits, "{what}");
        }
    }
    assert!(builds >= 5);
}
