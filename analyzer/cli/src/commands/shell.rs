//! Quotes bytes for a POSIX shell.
//!
//! The bytes come from the network. Whatever they contain, the shell must read them as a single
//! word, and a terminal that shows the word must treat it as text.

use sslrec_cli::text::Printable;

/// Returns the bytes as a word for `sh`. They must not contain NUL, which no argument can contain.
pub(crate) fn quote(word: &[u8]) -> String {
    match std::str::from_utf8(word) {
        Ok(text) if is_plain(text) => text.to_owned(),
        Ok(text) if is_harmless(text) => format!("'{}'", text.replace('\'', r"'\''")),
        // A command substitution removes line feeds at its end, so these are appended after it.
        _ => {
            let end = word.iter().rposition(|&b| b != b'\n').map_or(0, |at| at + 1);
            let (word, line_feeds) = word.split_at(end);
            let line_feeds = "\n".repeat(line_feeds.len());
            format!("\"$(printf '{}'){line_feeds}\"", octal(word))
        }
    }
}

/// Encodes bytes for the format of a POSIX `printf`: three octal digits each.
pub(crate) fn octal(bytes: &[u8]) -> String {
    let mut text = String::new();
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("\\{byte:03o}"));
        }
    }
    text
}

/// Returns whether the text is safe to print.
pub(crate) fn is_harmless(text: &str) -> bool {
    text.split(['\n', '\t']).all(|part| Printable(part).to_string() == part)
}

/// Returns whether the text needs no quotes.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./:=@,".contains(&b))
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_gives_every_word_back() {
        let all: Vec<u8> = (1..=255).collect();
        let words: [&[u8]; 13] = [
            b"",
            b"plain",
            b"it's",
            b"'; touch /tmp/x; '",
            b"$(id) `id` $HOME \\ \"",
            b"a\nb\n",
            b"\x1b[31m\n\n",
            b"\n",
            b"\xff\xfe %s %d",
            b"-n",
            "gr\u{fc}n \u{202e}".as_bytes(),
            b"!history #comment ~ *",
            &all,
        ];
        for word in words {
            let script = format!("printf '%s.' {}", quote(word));
            assert!(is_harmless(&script), "{script:?}");
            let output = Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(output.stdout, [word, b"."].concat(), "{script}");
        }
    }
}
