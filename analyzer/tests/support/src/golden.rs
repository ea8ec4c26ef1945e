//! Golden files: the expected output as a file beside the test.

use std::path::Path;

/// With this environment variable set, golden files are written and not compared.
pub const UPDATE: &str = "UPDATE_GOLDEN";

/// Compares `text` with the golden file at `path`, or writes the file if [`UPDATE`] is set.
pub fn check(path: &Path, text: &str) {
    if std::env::var_os(UPDATE).is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        return std::fs::write(path, text).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    let name = path.display();
    for (number, (line, expected)) in text.lines().zip(expected.lines()).enumerate() {
        assert_eq!(line, expected, "line {} of {name}; {UPDATE}=1 writes it anew", number + 1);
    }
    let lines = (text.lines().count(), expected.lines().count());
    assert_eq!(lines.0, lines.1, "lines of {name}; {UPDATE}=1 writes it anew");
    assert_eq!(text, expected, "{name}; {UPDATE}=1 writes it anew");
}
