//! File names, made from names in the network data.
//!
//! A name consists of letters, digits, `-`, `_` and `.`, begins with a prefix of `extract`, and
//! ends with an extension. So it is never a path, a hidden file, a device of Windows, or an option,
//! and two names of a listing never differ by case alone. Text of other scripts stays readable.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Maximum number of bytes kept of a sender's name. File systems allow 255 for the complete name.
const MAX_STEM: usize = 100;

/// Maximum length of an extension taken from a sender's name.
const MAX_EXTENSION: usize = 8;

/// Media types and their extensions, the usual extension first.
const EXTENSIONS: [(&str, &[&str]); 40] = [
    ("application/gzip", &["gz", "tgz"]),
    ("application/javascript", &["js", "mjs"]),
    ("application/json", &["json"]),
    ("application/pdf", &["pdf"]),
    ("application/vnd.api+json", &["json"]),
    ("application/wasm", &["wasm"]),
    ("application/x-javascript", &["js", "mjs"]),
    ("application/x-ndjson", &["ndjson", "jsonl"]),
    ("application/x-protobuf", &["pb"]),
    ("application/x-sh", &["sh"]),
    ("application/x-tar", &["tar"]),
    ("application/x-www-form-urlencoded", &["txt"]),
    ("application/x-yaml", &["yaml", "yml"]),
    ("application/xhtml+xml", &["xhtml"]),
    ("application/xml", &["xml"]),
    ("application/zip", &["zip", "jar", "whl"]),
    ("application/zstd", &["zst"]),
    ("audio/mpeg", &["mp3"]),
    ("audio/ogg", &["ogg", "oga", "opus"]),
    ("audio/wav", &["wav"]),
    ("font/ttf", &["ttf"]),
    ("font/woff", &["woff"]),
    ("font/woff2", &["woff2"]),
    ("image/avif", &["avif"]),
    ("image/bmp", &["bmp"]),
    ("image/gif", &["gif"]),
    ("image/jpeg", &["jpg", "jpeg"]),
    ("image/png", &["png"]),
    ("image/svg+xml", &["svg"]),
    ("image/vnd.microsoft.icon", &["ico"]),
    ("image/webp", &["webp"]),
    ("image/x-icon", &["ico"]),
    ("text/css", &["css"]),
    ("text/csv", &["csv"]),
    ("text/html", &["html", "htm"]),
    ("text/javascript", &["js", "mjs"]),
    ("text/markdown", &["md"]),
    ("text/xml", &["xml"]),
    ("video/mp4", &["mp4", "m4v"]),
    ("video/webm", &["webm"]),
];

/// Media types that carry no information about the contents.
const SAYS_NOTHING: [&str; 3] = ["", "application/octet-stream", "binary/octet-stream"];

/// Returns `PREFIX-NAME.EXTENSION`. NAME is the last part of the path. The extension comes from the
/// media type, or from the path if the media type carries no information.
pub(crate) fn file_name(prefix: &str, path: &str, content_type: &str) -> String {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default();
    let name = safe(&percent_decoded(last));
    let (stem, sent) = match name.rsplit_once('.') {
        Some((stem, extension)) if is_extension(extension) => (stem, Some(extension)),
        _ => (name.as_str(), None),
    };
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let media_type = media_type.to_ascii_lowercase();
    let (stem, extension) = match (extensions(&media_type), sent) {
        ([], Some(sent)) => (stem, sent),
        ([], None) => (stem, "bin"),
        (known, Some(sent)) if known.iter().any(|k| k.eq_ignore_ascii_case(sent)) => (stem, sent),
        // Keep the original extension visible: `run.exe.html`.
        ([usual, ..], _) => (name.as_str(), *usual),
    };
    let stem = cut(stem).trim_matches(['.', '_']);
    let separator = if stem.is_empty() { "" } else { "-" };
    format!("{prefix}{separator}{stem}.{extension}")
}

/// Returns the extensions of a media type, the usual extension first. The list is empty if the type
/// is unknown or carries no information.
fn extensions(media_type: &str) -> &'static [&'static str] {
    if let Ok(at) = EXTENSIONS.binary_search_by_key(&media_type, |(known, _)| known) {
        return EXTENSIONS[at].1;
    }
    match media_type.split_once('/') {
        _ if SAYS_NOTHING.contains(&media_type) => &[],
        // Structured syntax suffixes, RFC 6839.
        Some((_, sub)) if sub.ends_with("+json") => &["json"],
        Some((_, sub)) if sub.ends_with("+xml") => &["xml"],
        Some((_, sub)) if sub.ends_with("+zip") => &["zip"],
        Some(("text", _)) => &["txt"],
        _ => &[],
    }
}

fn is_extension(text: &str) -> bool {
    (1..=MAX_EXTENSION).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// Replaces everything but letters, digits, `-` and single dots by `_`.
fn safe(name: &str) -> String {
    let mut safe = String::with_capacity(name.len());
    for c in name.chars() {
        let allowed = c.is_alphanumeric() || c == '-' || (c == '.' && !safe.ends_with('.'));
        safe.push(if allowed { c } else { '_' });
    }
    safe
}

/// Undoes percent-encoding. A name that is not UTF-8 after that stays unchanged.
fn percent_decoded(name: &str) -> Cow<'_, str> {
    percent_decode_str(name).decode_utf8().unwrap_or(Cow::Borrowed(name))
}

/// Returns the first [`MAX_STEM`] bytes of the name.
fn cut(name: &str) -> &str {
    let mut end = name.len().min(MAX_STEM);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_path_and_type() {
        for (path, content_type, expected) in [
            ("/a/logo.png?x=1", "image/png", "7-response-logo.png"),
            ("/a/photo.JPEG", "image/jpeg", "7-response-photo.JPEG"),
            ("/", "text/html; charset=utf-8", "7-response.html"),
            ("/api/users", "application/problem+json", "7-response-users.json"),
            ("/v1.2/run.exe", "TEXT/HTML", "7-response-run.exe.html"),
            ("/pkg.tar.gz", "application/octet-stream", "7-response-pkg.tar.gz"),
            ("/blob", "", "7-response-blob.bin"),
            ("/x.tool", "application/x-thing", "7-response-x.tool"),
            ("/gr%C3%BCn%20tee", "text/plain", "7-response-grün_tee.txt"),
        ] {
            assert_eq!(file_name("7-response", path, content_type), expected);
        }
    }

    #[test]
    fn no_name_is_a_path_hidden_or_too_long() {
        let long = format!("/{}", "é".repeat(4000));
        for path in [
            "/..",
            "/../../etc/passwd",
            "/..%2f..%2fetc%2fpasswd",
            "/%2e%2e",
            "C:\\con\\aux",
            "/con",
            "/a\u{0}b\nc\u{202e}d",
            "/%00%0a%1b[2J",
            "/.bashrc",
            "/name.",
            "/name . ",
            "/*?<>|\"'$(id)",
            "/%zz%",
            &long,
        ] {
            for content_type in ["", "text/html", "../x", "a/b+json"] {
                let name = file_name("1-request", path, content_type);
                let harmless = |c: char| c.is_alphanumeric() || "-_.".contains(c);
                assert!(name.chars().all(harmless), "{name:?}");
                assert!(name.starts_with("1-request") && name.len() < 200, "{name:?}");
                assert!(!name.ends_with(['.', ' ']) && !name.contains(".."), "{name:?}");
            }
        }
    }

    #[test]
    fn media_types_are_sorted_for_the_search() {
        assert!(EXTENSIONS.is_sorted_by_key(|(media_type, _)| *media_type));
    }
}
