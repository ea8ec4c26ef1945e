//! The template of a path: the part that all requests of the same kind share.
//!
//! `/users/4711/orders/9f0c…` and `/users/12/orders/77aa…` are the same endpoint for counting and
//! comparing. No source declares which parts are identifiers, so they are recognised by form:
//! numbers, UUIDs, hashes, and long random-looking words. In doubt a word is kept, since merging
//! two endpoints hides more than splitting one. The result depends on the text alone, so that the
//! same path has the same template in every capture.

/// The replacement of an identifier.
const ID: &str = "{id}";

/// A longer part is not a chosen name.
const LONGEST_NAME: usize = 64;

/// The path with `{id}` in place of identifiers, and without its query.
pub(crate) fn path_template(path: &str) -> String {
    let end = path.find(['?', '#']).unwrap_or(path.len());
    let mut template = String::with_capacity(end);
    for (at, segment) in path[..end].split('/').enumerate() {
        if at > 0 {
            template.push('/');
        }
        push_segment(&mut template, segment);
    }
    template
}

/// Appends a segment. Each part between punctuation is kept or replaced by `{id}`.
fn push_segment(template: &mut String, segment: &str) {
    let start = template.len();
    let mut rest = segment;
    while !rest.is_empty() {
        let len = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let (part, tail) = rest.split_at(len);
        push_part(template, start, part);
        let len = punctuation(tail);
        template.push_str(&tail[..len]);
        rest = &tail[len..];
    }
}

/// Returns whether identifiers contain this character, those in base64url included (RFC 4648
/// section 5).
fn is_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

/// Returns the length of the punctuation at the beginning of a text; an escape such as `%20` counts
/// as punctuation.
fn punctuation(text: &str) -> usize {
    let mut at = 0;
    while let Some(c) = text[at..].chars().next().filter(|&c| !is_part(c)) {
        at += c.len_utf8();
        if c == '%' {
            let escape = text.as_bytes()[at..].iter().take(2);
            at += escape.take_while(|b| b.is_ascii_hexdigit()).count();
        }
    }
    at
}

fn push_part(template: &mut String, start: usize, part: &str) {
    if part.len() > LONGEST_NAME || is_uuid(part) || is_random(part) {
        return push_id(template, start);
    }
    for word in part.split_inclusive(['-', '_']) {
        let name = word.trim_end_matches(['-', '_']);
        if is_number(name) || is_hash(name) || is_long_id(name) {
            push_id(template, start);
        } else {
            template.push_str(name);
        }
        template.push_str(&word[name.len()..]);
    }
}

/// Appends an identifier. If the segment so far ends with an identifier and a separator, the two
/// are merged: a date, a version or an address is a single value.
fn push_id(template: &mut String, start: usize) {
    let segment = &template[start..];
    let before = segment.strip_suffix(['-', '_', '.', ',', ':']);
    match before {
        Some(before) if before.ends_with(ID) => template.truncate(template.len() - 1),
        _ => template.push_str(ID),
    }
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit())
}

/// Returns whether the part has 8-4-4-4-12 hexadecimal digits (RFC 9562 section 4).
fn is_uuid(part: &str) -> bool {
    let groups = part.split('-').map(|group| group.len());
    groups.eq([8, 4, 4, 4, 12]) && part.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

/// Returns whether the word is a hash or part of a hash. `facade` and `deadbeef` are words; 16 such
/// letters are not.
fn is_hash(word: &str) -> bool {
    let (digits, letters) = digits_and_letters(word);
    word.bytes().all(|b| b.is_ascii_hexdigit())
        && (word.len() >= 16 || (word.len() >= 8 && digits > 0 && letters > 0))
}

/// Returns whether the word is long and has more than one digit. Names have at most one, as
/// `getUsersByGroupV2` does.
fn is_long_id(word: &str) -> bool {
    let (digits, letters) = digits_and_letters(word);
    word.len() >= 20 && digits > 1 && letters > 0
}

fn digits_and_letters(word: &str) -> (usize, usize) {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    (digits, word.len() - digits)
}

/// Returns whether digits, capital and small letters alternate about every third character, as in
/// `dQw4w9WgXcQ`. A small letter after a capital does not count: names are written so.
fn is_random(part: &str) -> bool {
    let class = |b: u8| match b {
        b'0'..=b'9' => Class::Digit,
        b'A'..=b'Z' => Class::Capital,
        _ => Class::Small,
    };
    let symbols: Vec<u8> = part.bytes().filter(u8::is_ascii_alphanumeric).collect();
    let digits = symbols.iter().filter(|b| b.is_ascii_digit()).count();
    let changes = symbols.windows(2).filter(|pair| {
        let (before, after) = (class(pair[0]), class(pair[1]));
        before != after && (before, after) != (Class::Capital, Class::Small)
    });
    symbols.len() >= 10
        && digits > 1
        && digits < symbols.len()
        && changes.count() * 3 >= symbols.len()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Digit,
    Capital,
    Small,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_become_one() {
        for (path, template) in [
            ("/users/4711/orders/12", "/users/{id}/orders/{id}"),
            ("/a/550e8400-e29b-41d4-a716-446655440000/b", "/a/{id}/b"),
            ("/blob/da39a3ee5e6b4b0d3255bfef95601890afd80709", "/blob/{id}"),
            ("/commit/3f4a8b1c", "/commit/{id}"),
            ("/static/app.3f4a8b1c.js", "/static/app.{id}.js"),
            ("/v1/customers/cus_9s6XKzkNRiz8i3", "/v1/customers/{id}"),
            ("/watch/dQw4w9WgXcQ", "/watch/{id}"),
            ("/ulid/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/ulid/{id}"),
            ("/ksuid/0ujtsYcgvSTl8PAuAdqWYSMnLOv", "/ksuid/{id}"),
            ("/nano/V1StGXR8_Z5jdHi6B-myT", "/nano/{id}"),
            ("/mongo/507f1f77bcf86cd799439011", "/mongo/{id}"),
            ("/report-2024-05-01.pdf", "/report-{id}.pdf"),
            ("/jquery-3.6.0.min.js", "/jquery-{id}.min.js"),
            ("/user-12/order_7", "/user-{id}/order_{id}"),
            ("/ip/10.0.0.1:8080", "/ip/{id}"),
            ("/42?user=42#7", "/{id}"),
        ] {
            assert_eq!(path_template(path), template, "{path}");
        }
        assert_eq!(path_template(&format!("/t/{}", "x".repeat(65))), "/t/{id}");
    }

    #[test]
    fn names_stay() {
        for path in [
            "",
            "/",
            "*",
            "//a//",
            "/api/v1/users",
            "/api/v2beta1/i18n",
            "/oauth2/token",
            "/OAuth2Token/Base64Encode",
            "/getUserByEmailAddress2",
            "/facade/deadbeef",
            "/a%20b%C3%A9%20x%",
            "/how-to-write-a-good-blog-post",
            "/google.pubsub.v1.Publisher/Publish",
            "/caf\u{e9}/\u{65e5}\u{672c}",
            "/-/_/..",
        ] {
            assert_eq!(path_template(path), path);
        }
        assert_eq!(path_template("/a%2042"), "/a%20{id}");
    }

    #[test]
    fn a_template_is_its_own_template() {
        for path in ["/a/1.2.3/x-7_8", "/9f0c1a2b3c4d5e6f", "/%41/1%/", "/{id}/7"] {
            let template = path_template(path);
            assert_eq!(path_template(&template), template);
        }
    }
}
