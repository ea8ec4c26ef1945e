//! Finds the values of fields in JSON that comes in pieces, and whatever surrounds it.
//!
//! Not a parser of JSON: it looks for a quoted name before a colon, whichever quotes belong
//! together, so that a stray quote in front hides nothing. What follows the colon is the value: a
//! string, a number or word, or an object or array, of which all strings and numbers are blanked.
//! What was JSON is JSON afterwards, of the same length.

/// The longest name, as it stands there, that is compared.
const MAX_NAME: usize = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between two quotes, or between a quote and the end.
    Text,
    /// Behind a quote that closed one of the names.
    AfterName,
    /// Behind the colon.
    BeforeValue,
    /// In a string that is blanked.
    SecretString,
    /// In a number or word that is blanked; `first` before its first byte was written.
    SecretWord,
    /// In an object or array that is blanked.
    Nested { depth: u32, in_string: bool, in_word: bool },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Json {
    state: State,
    /// What stands since the last quote; longer than `MAX_NAME`, it is no name.
    name: Vec<u8>,
    /// The byte before was a backslash that escapes this one.
    escaped: bool,
}

impl Json {
    pub(super) fn new() -> Self {
        Self { state: State::Text, name: Vec::new(), escaped: false }
    }

    /// Blanks what is secret in the next bytes. `names` are in lower case.
    pub(super) fn data(&mut self, names: &[String], bytes: &mut [u8]) {
        bytes.iter_mut().for_each(|octet| self.octet(names, octet));
    }

    fn octet(&mut self, names: &[String], octet: &mut u8) {
        let escaped = std::mem::replace(&mut self.escaped, false);
        self.escaped = !escaped && *octet == b'\\';
        let is_quote = *octet == b'"' && !escaped;
        match self.state {
            State::Text if is_quote => self.quote(names),
            State::Text => self.keep(*octet),
            State::AfterName | State::BeforeValue if octet.is_ascii_whitespace() => {}
            State::AfterName if *octet == b':' => self.state = State::BeforeValue,
            State::AfterName => {
                self.state = State::Text;
                if is_quote { self.quote(names) } else { self.keep(*octet) }
            }
            State::BeforeValue => self.value(octet, is_quote),
            State::SecretString if is_quote => self.state = State::Text,
            State::SecretString => *octet = b'*',
            State::SecretWord if is_end_of_word(*octet) => self.state = State::Text,
            State::SecretWord => *octet = b'0',
            State::Nested { depth, in_string, in_word } => {
                self.nested(octet, is_quote, (depth, in_string, in_word));
            }
        }
    }

    fn quote(&mut self, names: &[String]) {
        if self.name.len() <= MAX_NAME && is_one_of(names, &self.name) {
            self.state = State::AfterName;
        }
        self.name.clear();
    }

    fn keep(&mut self, octet: u8) {
        if self.name.len() <= MAX_NAME {
            self.name.push(octet);
        }
    }

    fn value(&mut self, octet: &mut u8, is_quote: bool) {
        self.name.clear();
        self.state = match *octet {
            _ if is_quote => State::SecretString,
            b'{' | b'[' => State::Nested { depth: 1, in_string: false, in_word: false },
            end if is_end_of_word(end) => State::Text,
            _ => {
                // A number stays one: no zero may stand before other digits.
                *octet = b'1';
                State::SecretWord
            }
        };
    }

    fn nested(
        &mut self,
        octet: &mut u8,
        is_quote: bool,
        (depth, in_string, in_word): (u32, bool, bool),
    ) {
        let nested = |depth, in_string, in_word| State::Nested { depth, in_string, in_word };
        self.state = match *octet {
            _ if is_quote => nested(depth, !in_string, false),
            _ if in_string => {
                *octet = b'*';
                nested(depth, true, false)
            }
            b'{' | b'[' => nested(depth.saturating_add(1), false, false),
            b'}' | b']' if depth <= 1 => State::Text,
            b'}' | b']' => nested(depth - 1, false, false),
            b',' | b':' => nested(depth, false, false),
            blank if blank.is_ascii_whitespace() => nested(depth, false, false),
            _ => {
                *octet = if in_word { b'0' } else { b'1' };
                nested(depth, false, true)
            }
        };
    }
}

fn is_end_of_word(octet: u8) -> bool {
    octet.is_ascii_whitespace() || b",}]".contains(&octet)
}

/// The name, with its escapes (RFC 8259 section 7) undone, is one of these.
fn is_one_of(names: &[String], name: &[u8]) -> bool {
    if !name.contains(&b'\\') {
        return names.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
    }
    let text = String::from_utf8_lossy(name);
    let mut plain = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match (c, c == '\\') {
            (_, true) => match rest.next() {
                Some('u') => {
                    let digits: String = rest.by_ref().take(4).collect();
                    let code = u32::from_str_radix(&digits, 16).ok();
                    plain
                        .push(code.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                Some(escaped) => plain.push(escaped),
                None => {}
            },
            (c, false) => plain.push(c),
        }
    }
    names.iter().any(|known| plain.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blanked(text: &str, split: usize) -> String {
        let mut json = Json::new();
        let mut bytes = text.as_bytes().to_vec();
        let names = ["password".to_owned(), "pin".to_owned()];
        let (first, second) = bytes.split_at_mut(split.min(text.len()));
        json.data(&names, first);
        json.data(&names, second);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn values_are_blanked_and_all_else_stays() {
        for (text, expected) in [
            (r#"{"password":"a\"b\\","x":"y"}"#, r#"{"password":"******","x":"y"}"#),
            (r#"{"Password" : "p","pin":-12.5e3}"#, r#"{"Password" : "*","pin":1000000}"#),
            (r#"{"pin":true,"password":null}"#, r#"{"pin":1000,"password":1000}"#),
            (r#"{"x":"password","y":"z"}"#, r#"{"x":"password","y":"z"}"#),
            (r#"["password","z"]"#, r#"["password","z"]"#),
            (r#"{"pass\u0077ord":"z"}"#, r#"{"pass\u0077ord":"*"}"#),
            (
                r#"{"password":{"a":["b",12],"c":{}},"d":"e"}"#,
                r#"{"password":{"*":["*",10],"*":{}},"d":"e"}"#,
            ),
            (r#"it"s <script>{"password":"z"}"#, r#"it"s <script>{"password":"*"}"#),
            (r#"{"password":""}"#, r#"{"password":""}"#),
            (r#"{"password":"never ends"#, r#"{"password":"**********"#),
        ] {
            for split in 0..=text.len() {
                assert_eq!(blanked(text, split), expected, "{split}");
            }
        }
    }
}
