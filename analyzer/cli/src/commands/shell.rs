//! Quotes bytes for a POSIX shell.
//!
//! What is quoted comes from strangers: whatever it holds, the shell must take it as one word, and
//! a terminal that it is printed on must take it as text.

use sslrec_cli::text::Printable;

/// A word for `sh`. It has no NUL, which no argument can hold.
pub(crate) fn quote(word: &[u8]) -> String {
    match std::str::from_utf8(word) {
        Ok(text) if is_plain(text) => text.to_owned(),
        Ok(text) if is_harmless(text) => format!("'{}'", text.replace('\'', r"'\''")),
        // A command substitution drops line feeds at its end, so they stand behind it.
        _ => {
            let end = word.iter().rposition(|&b| b != b'\n').map_or(0, |at| at + 1);
            let (word, line_feeds) = word.split_at(end);
            let line_feeds = "\n".repeat(line_feeds.len());
            format!("\"$(printf '{}'){line_feeds}\"", octal(word))
        }
    }
}

/// Bytes as `printf` of a POSIX shell takes them in its format: three octal digits for each.
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

/// It can be printed as it is.
pub(crate) fn is_harmless(text: &str) -> bool {
    text.split(['\n', '\t']).all(|part| Printable(part).to_string() == part)
}

/// It needs no quotes.
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
