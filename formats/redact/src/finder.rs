//! Finds values that follow a name, in text that arrives in pieces: `name=value` in URLs and forms,
//! `"name": value` in JSON, `Name: value` on a separate line.
//!
//! The finder does not parse any of these formats. A value begins after `=` or `:`; the bytes
//! before it are examined for a name, in any spelling ([`super::decode`]), whatever surrounds them.
//! So a stray quote, a broken head or JSON within a string within a form hides nothing. JSON
//! remains JSON of the same length: in objects and arrays, strings and numbers are blanked.

use std::ops::Range;

use memchr::{memchr, memchr_iter, memchr2, memmem, memrchr};

use super::counts::Rule;
use super::decode::{self, Incomplete, decode};
use super::header_name::{header_name, is_cookie_field};
use super::rules::Rules;

/// The longest name, in its spelling.
const MAX_NAME: usize = 512;

/// The longest name of a header field.
const MAX_HEADER: usize = 128;

/// The most whitespace between a name and its colon.
const MAX_SPACE: usize = 64;

/// Number of bytes before the cursor that a search for a name needs.
pub(super) const CONTEXT: usize = MAX_NAME + MAX_SPACE + 64;

/// The longest boundary of a form of several parts (RFC 2046 section 5.1.1), with its dashes.
const MAX_BOUNDARY: usize = 80;

/// The longest header section of a part that is searched for its end.
const MAX_PART_HEAD: usize = 4096;

/// The text that is searched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look<'r> {
    pub(super) rules: &'r Rules,
    /// The text is a form, and so begins with a name.
    pub(super) form: bool,
    /// The text may be other than a body: a header field may announce compressed bytes.
    pub(super) unsure: bool,
    /// The text is a target or header value: backslashes are not escapes of an outer string.
    pub(super) head: bool,
}

/// Bytes to blank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blank {
    pub(super) range: Range<usize>,
    pub(super) fill: Fill,
    pub(super) rule: Rule,
    /// A value begins here.
    pub(super) begins: bool,
}

/// The replacement of secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fill {
    Stars,
    /// A number; `first` if no digit was written yet: a zero must not precede other digits.
    Digits {
        first: bool,
    },
}

impl Fill {
    /// Returns the replacement for the bytes after those already written.
    pub(super) fn next(self) -> Self {
        match self {
            Fill::Stars => Fill::Stars,
            Fill::Digits { .. } => Fill::Digits { first: false },
        }
    }

    pub(super) fn write(self, bytes: &mut [u8]) {
        match self {
            Fill::Stars => bytes.fill(b'*'),
            Fill::Digits { first } => {
                bytes.fill(b'0');
                if let (true, Some(digit)) = (first, bytes.first_mut()) {
                    *digit = b'1';
                }
            }
        }
    }
}

/// The spelling of the quotes of a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spelling {
    Plain,
    /// Percent-encoded this number of times.
    Percent(u8),
    Entity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Outside of secrets.
    Text,
    /// After the colon of JSON.
    Before(Spelling),
    /// After the colon of a line with a quoted name: of JSON, or of a header field.
    BeforeField,
    /// In the value of a URL whose `=` is percent-encoded this number of times.
    Url {
        depth: u8,
    },
    /// In the value of a form: up to the next `&`.
    Form,
    /// In a cookie.
    Cookie,
    /// In the rest of a line; `escaped` within a string of JSON. `newline`: after its line feed.
    Line {
        escaped: bool,
        newline: bool,
    },
    String {
        quote: u8,
        level: u32,
        spelling: Spelling,
    },
    /// In a number or word of JSON; `first`: before its first byte.
    Word {
        first: bool,
    },
    /// In an object or array whose quotes are of this level.
    Nested {
        depth: u32,
        level: u32,
        quote: Option<u8>,
        in_word: bool,
    },
    /// Before the name of a part of a form.
    PartName,
    /// In the head of a part that is secret.
    PartHead,
    /// In a part that is secret.
    Part,
    /// Up to the end: the bytes cannot be searched.
    Rest,
}

/// The result of a step.
enum Step {
    Again,
    /// More bytes are needed; all bytes before this place are settled.
    Wait(usize),
}

/// Searches a text.
#[derive(Debug)]
pub(super) struct Finder {
    state: State,
    rule: Rule,
    /// The value has begun, and no part of it was blanked yet.
    begins: bool,
    /// Place up to which the text was read.
    at: usize,
    /// Place after the last `=`: no name begins before it.
    after_equals: usize,
    /// Place after the colon of a line with cookies on which no `=` was found yet.
    cookies: Option<usize>,
    /// The text is complete at its beginning.
    origin: bool,
    /// Delimiter of a form of several parts, with its dashes.
    boundary: Option<Vec<u8>>,
    /// A header field announced compressed bytes: the end of the head is searched from here on.
    coded: Option<usize>,
    /// The text is compressed from here on.
    rest: Option<usize>,
    /// Place before which no compressed bytes begin.
    searched: usize,
}

impl Finder {
    pub(super) fn new() -> Self {
        Self {
            state: State::Text,
            rule: Rule::Query,
            begins: false,
            at: 0,
            after_equals: 0,
            cookies: None,
            origin: true,
            boundary: None,
            coded: None,
            rest: None,
            searched: 0,
        }
    }

    /// Processes missing bytes: up to the end of the line, the next bytes may be the rest of a
    /// secret.
    pub(super) fn gap(&mut self) {
        if self.state != State::Rest {
            self.begin(Rule::Unsearchable, State::Line { escaped: false, newline: false });
        }
    }

    /// Blanks all further bytes.
    pub(super) fn blank_rest(&mut self) {
        self.begin(Rule::Unsearchable, State::Rest);
    }

    /// Adjusts all places to a text without its first `cut` bytes.
    pub(super) fn shift(&mut self, cut: usize) {
        self.origin &= cut == 0;
        self.at = self.at.saturating_sub(cut);
        self.after_equals = self.after_equals.saturating_sub(cut);
        self.searched = self.searched.saturating_sub(cut);
        for place in [&mut self.cookies, &mut self.coded, &mut self.rest].into_iter().flatten() {
            *place = place.saturating_sub(cut);
        }
    }

    /// Returns the place that must remain in the text, with [`CONTEXT`] before it.
    pub(super) fn cursor(&self) -> usize {
        self.at
    }

    /// Skips the rest of the text, which was blanked.
    pub(super) fn skip_to(&mut self, end: usize) {
        self.at = end;
    }

    /// Reads as far as possible; with `last` nothing follows. Returns the place before which all
    /// bytes are settled.
    pub(super) fn run(
        &mut self,
        look: Look<'_>,
        text: &[u8],
        last: bool,
        out: &mut Vec<Blank>,
    ) -> usize {
        let mut triggers = Triggers::default();
        if look.unsure {
            self.find_gzip(text);
        }
        while self.at < text.len() {
            let step = match self.state {
                State::Text => self.text(look, text, last, &mut triggers),
                State::Before(spelling) => self.before(spelling, text, last),
                State::BeforeField => self.before_field(text),
                State::Url { depth } => self.url(look, depth, text, last, out),
                State::Form => self.until(text, out, |octet| octet == b'&'),
                State::Cookie => self.until(text, out, |octet| b";\r\n".contains(&octet)),
                State::Line { escaped, newline } => self.line(escaped, newline, text, last, out),
                State::String { quote, level, spelling } => {
                    self.string(quote, level, spelling, text, last, out)
                }
                State::Word { first } => self.word(first, text, last, out),
                State::Nested { .. } => self.nested(text, last, out),
                State::PartName => self.part_name(look, text, last),
                State::PartHead => self.part_head(text, last),
                State::Part => self.part(text, last, out),
                State::Rest => self.until(text, out, |_| false),
            };
            if let Step::Wait(settled) = step {
                return settled;
            }
        }
        text.len()
    }

    fn begin(&mut self, rule: Rule, state: State) {
        (self.rule, self.state, self.begins) = (rule, state, true);
    }

    /// Blanks from the cursor to `end` and moves the cursor there.
    fn blank(&mut self, end: usize, fill: Fill, out: &mut Vec<Blank>) {
        let (range, rule) = (self.at..end, self.rule);
        self.at = end;
        if range.is_empty() {
            return;
        }
        let begins = std::mem::take(&mut self.begins);
        match out.last_mut() {
            Some(before)
                if before.range.end == range.start
                    && !begins
                    && (before.fill, fill) == (Fill::Stars, Fill::Stars) =>
            {
                before.range.end = range.end;
            }
            _ => out.push(Blank { range, fill, rule, begins }),
        }
    }

    fn end(&mut self, end: usize, out: &mut Vec<Blank>) -> Step {
        self.blank(end, Fill::Stars, out);
        self.state = State::Text;
        Step::Again
    }

    fn until(&mut self, text: &[u8], out: &mut Vec<Blank>, is_end: impl Fn(u8) -> bool) -> Step {
        match text[self.at..].iter().position(|&octet| is_end(octet)) {
            Some(len) => self.end(self.at + len, out),
            None => {
                self.blank(text.len(), Fill::Stars, out);
                Step::Again
            }
        }
    }
}

/// The next places that may separate a name from its value.
#[derive(Default)]
struct Triggers {
    plain: Option<usize>,
    escape: Option<usize>,
}

impl Triggers {
    /// Returns the first place at or after `at`, or the end of the text.
    fn next(&mut self, text: &[u8], at: usize) -> usize {
        let find = |place: &mut Option<usize>, (a, b): (u8, u8)| match *place {
            Some(place) if place >= at => place,
            _ => {
                let found = memchr2(a, b, &text[at..]).map_or(text.len(), |found| at + found);
                *place = Some(found);
                found
            }
        };
        find(&mut self.plain, (b'=', b':')).min(find(&mut self.escape, (b'%', b'\\')))
    }
}

/// The search for names.
impl Finder {
    fn text(&mut self, look: Look<'_>, text: &[u8], last: bool, triggers: &mut Triggers) -> Step {
        self.find_end_of_head(text);
        let at = triggers.next(text, self.at);
        if let Some(rest) = self.rest.filter(|&rest| rest <= at) {
            self.at = self.at.max(rest);
            self.blank_rest();
            return Step::Again;
        }
        self.at = at;
        let Some(&octet) = text.get(at) else { return Step::Wait(text.len()) };
        let (value, len, depth) = match octet {
            b'%' => match decode::percent(&text[at..], last) {
                Ok(octet) => (octet.value, octet.len, octet.depth),
                Err(Incomplete) => return Step::Wait(text.len()),
            },
            b'\\' => match decode::escape(&text[at..], last) {
                // Only `\u003d` and `\x3d` are escaped separators; the `=` of `\=` is found without
                // its escape.
                Ok(escape) if escape.len > escape.slashes + 1 => (escape.value, escape.len, 0),
                Ok(escape) => (b'\\', escape.slashes.max(1), 0),
                Err(Incomplete) => return Step::Wait(text.len()),
            },
            plain => (plain, 1, 0),
        };
        let end = at + len;
        self.at = end;
        match value {
            b'=' => self.equals(look, text, at, end, depth),
            b':' => self.colon(look, text, at, end),
            _ => {}
        }
        Step::Again
    }

    /// Finds compressed contents in unrecognised bytes: all bytes from there on are blanked.
    fn find_gzip(&mut self, text: &[u8]) {
        const MAGIC: &[u8] = b"\x1f\x8b\x08";
        let found = memmem::find(&text[self.searched.min(text.len())..], MAGIC);
        self.rest = self.rest.or(found.map(|at| self.searched + at));
        self.searched = text.len().saturating_sub(MAGIC.len() - 1).max(self.searched);
    }

    /// Finds the end of a head that declared its contents to be compressed.
    fn find_end_of_head(&mut self, text: &[u8]) {
        let Some(from) = self.coded else { return };
        let rest = &text[from.min(text.len())..];
        let ends = [&b"\n\r\n"[..], b"\n\n"].map(|end| Some(memmem::find(rest, end)? + end.len()));
        match ends.into_iter().flatten().min() {
            Some(end) => (self.coded, self.rest) = (None, self.rest.or(Some(from + end))),
            None => self.coded = Some(text.len().saturating_sub(2).max(from)),
        }
    }

    fn equals(&mut self, look: Look<'_>, text: &[u8], at: usize, end: usize, depth: u8) {
        let from = self.after_equals.max(at.saturating_sub(MAX_NAME));
        let before = &text[from.min(at)..at];
        self.after_equals = end;
        if self.cookie(look, text, at) {
            return self.begin(Rule::Cookie, State::Cookie);
        }
        if depth == 0 && self.is_part_name(look, text, before) {
            self.state = State::PartName;
            return;
        }
        if !look.rules.names_pairs() {
            return;
        }
        let at_origin = look.form && self.origin && from == 0;
        let Some((name, is_plain)) = pair_name(before, look.form, at_origin) else { return };
        if look.rules.is_pair(&name) {
            let is_form = look.form && is_plain && depth == 0;
            self.begin(Rule::Query, if is_form { State::Form } else { State::Url { depth } });
        }
    }

    /// Returns whether the `=` follows the name of a cookie that a rule names.
    fn cookie(&mut self, look: Look<'_>, text: &[u8], at: usize) -> bool {
        let Some(from) = self.cookies.filter(|&from| from <= at) else { return false };
        let line = &text[from..at];
        let ends = |feed| !line.get(feed + 1).is_some_and(|next: &u8| b" \t".contains(next));
        if memchr_iter(b'\n', line).any(ends) {
            self.cookies = None;
            return false;
        }
        self.cookies = Some(at);
        let name = line.rsplit(|&octet| octet == b';').next().unwrap_or_default();
        let name = name.strip_prefix(b"=").unwrap_or(name);
        look.rules.is_cookie(&decode(name))
    }

    fn colon(&mut self, look: Look<'_>, text: &[u8], at: usize, end: usize) {
        let from = at.saturating_sub(MAX_SPACE);
        let space = text[from..at].iter().rev().take_while(|octet| octet.is_ascii_whitespace());
        let name_end = at - space.count();
        let Some(&before) = name_end.checked_sub(1).and_then(|at| text.get(at)) else { return };
        let region = &text[name_end.saturating_sub(MAX_NAME)..name_end];
        let rules = look.rules;
        if b"\"'`".contains(&before) {
            let Some(open) = quoted(region) else { return };
            let (indent, name) = (&region[..open - 1], &region[open..region.len() - 1]);
            if rules.names_json() && is_spelled(name, |name| rules.is_json(name)) {
                self.begin(Rule::Json, State::Before(Spelling::Plain));
            } else if self.begins_line(indent, name_end == region.len())
                && rules.is_header(&header_name(name))
            {
                self.begin(Rule::Header, State::BeforeField);
            }
            return;
        }
        if rules.names_json()
            && let Some(spelling) = spelled_quote(region)
        {
            let plain = decode(region);
            let open = quoted(&plain);
            if open.is_some_and(|open| rules.is_json(&decode(&plain[open..plain.len() - 1]))) {
                self.begin(Rule::Json, State::Before(spelling));
            }
            return;
        }
        if let Some((line, escaped)) = self.line_before(text, name_end)
            && self.header(look, line, escaped, end)
        {
            return;
        }
        if rules.names_json() && bare(region).is_some_and(|name| rules.is_json(name)) {
            self.begin(Rule::Json, State::Before(Spelling::Plain));
        }
    }

    /// Returns whether the line that these bytes end in has only whitespace so far; `whole`: no
    /// bytes are before them.
    fn begins_line(&self, before: &[u8], whole: bool) -> bool {
        let space = before.iter().rev().take_while(|octet| b" \t".contains(octet)).count();
        match before[..before.len() - space].last() {
            Some(octet) => b"\r\n".contains(octet),
            None => whole && self.origin,
        }
    }

    /// Returns the line up to `end`, if the beginning of the line is near; and whether it begins
    /// after an escape.
    fn line_before<'t>(&self, text: &'t [u8], end: usize) -> Option<(&'t [u8], bool)> {
        let from = end.saturating_sub(MAX_HEADER);
        let region = &text[from..end];
        let plain = memchr::memrchr2(b'\n', b'\r', region).map(|at| at + 1);
        let start = plain.or_else(|| (from == 0 && self.origin).then_some(0));
        let escapes = [(&b"\\n"[..], 2), (b"\\r", 2), (b"%0a", 3), (b"%0A", 3), (b"%0D", 3)];
        let escape = match region.iter().any(|octet| b"%\\".contains(octet)) {
            true => escapes
                .iter()
                .filter_map(|(escape, len)| memmem::rfind(region, escape).map(|at| at + len))
                .max(),
            false => None,
        };
        match (start, escape) {
            (start, Some(escape)) if start.is_none_or(|start| start < escape) => {
                Some((&region[escape..], true))
            }
            (Some(start), _) => Some((&region[start..], false)),
            (None, _) => None,
        }
    }

    /// Returns whether the line begins with the name of a header field that makes its value secret.
    fn header(&mut self, look: Look<'_>, line: &[u8], escaped: bool, end: usize) -> bool {
        let rules = look.rules;
        let name = header_name(line);
        let is_builtin = rules.builtin && name == b"sec-websocket-protocol";
        if rules.is_header(&name) || is_builtin {
            self.begin(Rule::Header, State::Line { escaped, newline: false });
            return true;
        }
        if !rules.cookies.is_empty() && is_cookie_field(&name) {
            self.cookies = Some(end);
        }
        if look.unsure && is_coding(&name) {
            self.coded = Some(end);
        }
        let is_yaml = !look.head && rules.names_json() && rules.is_json(line.trim_ascii());
        if is_yaml {
            self.begin(Rule::Json, State::Line { escaped, newline: false });
        }
        is_yaml
    }
}

/// Returns whether the field declares contents to be compressed.
fn is_coding(name: &[u8]) -> bool {
    [&b"content-encoding"[..], b"grpc-encoding"].contains(&name)
}

/// Returns the name before a `=`, decoded, if it begins after a delimiter or with the text; and
/// whether the delimiter is a plain character.
fn pair_name(before: &[u8], form: bool, at_origin: bool) -> Option<(Vec<u8>, bool)> {
    const DELIMITERS: &[u8] = b"?&;#";
    let is_end = |octet: &u8| !form && (octet.is_ascii_whitespace() || b"\"'<>=".contains(octet));
    let stop = before.iter().rposition(|octet| DELIMITERS.contains(octet) || is_end(octet));
    let (raw, is_delimited) = match stop {
        Some(at) => (&before[at + 1..], DELIMITERS.contains(&before[at])),
        None => (before, at_origin),
    };
    if raw.iter().any(|octet| b"%\\".contains(octet)) {
        let plain = decode(raw);
        if let Some(at) = plain.iter().rposition(|octet| DELIMITERS.contains(octet)) {
            return Some((plain[at + 1..].to_vec(), false));
        }
        return is_delimited.then_some((plain, true));
    }
    is_delimited.then(|| (raw.to_vec(), true))
}

/// Returns the beginning of the name between the quote that `text` ends with and the previous
/// quote.
fn quoted(text: &[u8]) -> Option<usize> {
    let (&quote, rest) = text.split_last()?;
    let end = rest.len() - rest.iter().rev().take_while(|&&octet| octet == b'\\').count();
    Some(memrchr(quote, &rest[..end])? + 1)
}

/// Returns whether `is` accepts the decoded name. Backslashes at its end belong to the quote after
/// it.
fn is_spelled(name: &[u8], is: impl Fn(&[u8]) -> bool) -> bool {
    let len = name.len() - name.iter().rev().take_while(|&&octet| octet == b'\\').count();
    let name = &name[..len];
    match name.iter().any(|octet| b"%\\&".contains(octet)) {
        true => is(&decode(name)),
        false => is(name),
    }
}

/// Returns the spelling of the quote that `text` ends with, unless the quote is plain.
fn spelled_quote(text: &[u8]) -> Option<Spelling> {
    let ends = |end: &[u8]| {
        text.len() >= end.len() && text[text.len() - end.len()..].eq_ignore_ascii_case(end)
    };
    if ends(b"u0022") || ends(b"u0027") {
        return Some(Spelling::Plain);
    }
    if ends(b";") {
        let entities = [&b"&quot;"[..], b"&#34;", b"&#x22;", b"&apos;", b"&#39;", b"&#x27;"];
        return entities.iter().any(|entity| ends(entity)).then_some(Spelling::Entity);
    }
    if !(ends(b"22") || ends(b"27")) {
        return None;
    }
    let mut rest = &text[..text.len() - 2];
    for depth in 1..16 {
        if rest.ends_with(b"%") {
            return Some(Spelling::Percent(depth));
        }
        rest = rest.strip_suffix(b"25")?;
    }
    None
}

/// Returns the name without quotes that `text` ends with (JSON5 section 3), after `{` or `,`.
fn bare(text: &[u8]) -> Option<&[u8]> {
    let is_name = |octet: &&u8| octet.is_ascii_alphanumeric() || b"_$-".contains(octet);
    let len = text.iter().rev().take_while(is_name).count();
    let (before, name) = text.split_at(text.len() - len);
    let before = before.trim_ascii_end();
    (len > 0 && before.last().is_some_and(|octet| b"{,".contains(octet))).then_some(name)
}

/// The blanking of values.
impl Finder {
    fn before(&mut self, spelling: Spelling, text: &[u8], last: bool) -> Step {
        let (at, rest) = (self.at, &text[self.at..]);
        let string = |quote, level, spelling| State::String { quote, level, spelling };
        match rest[0] {
            octet if octet.is_ascii_whitespace() => self.at += 1,
            b'+' if matches!(spelling, Spelling::Percent(_)) => self.at += 1,
            quote @ (b'"' | b'\'' | b'`') => {
                self.state = string(quote, 0, Spelling::Plain);
                self.at += 1;
            }
            b'\\' => {
                let Ok(escape) = decode::escape(rest, last) else { return Step::Wait(at) };
                match escape.value {
                    b'\n' | b'\r' | b'\t' => self.at += escape.len,
                    quote @ (b'"' | b'\'') => {
                        self.state = string(quote, escape.level(), Spelling::Plain);
                        self.at += escape.len;
                    }
                    _ => self.state = State::Word { first: true },
                }
            }
            b'%' if matches!(spelling, Spelling::Percent(_)) => {
                let Ok(octet) = decode::percent(rest, last) else { return Step::Wait(at) };
                match octet.value {
                    value if value.is_ascii_whitespace() => self.at += octet.len,
                    quote @ (b'"' | b'\'') => {
                        self.state = string(quote, 0, Spelling::Percent(octet.depth));
                        self.at += octet.len;
                    }
                    _ => self.state = State::Url { depth: 0 },
                }
            }
            b'&' if spelling == Spelling::Entity => match decode::entity(rest, last) {
                Err(Incomplete) => return Step::Wait(at),
                Ok(Some(octet)) if b"\"'".contains(&octet.value) => {
                    self.state = string(octet.value, 0, Spelling::Entity);
                    self.at += octet.len;
                }
                Ok(_) => self.state = State::Text,
            },
            b'{' | b'[' => {
                self.state =
                    State::Nested { depth: 1, level: u32::MAX, quote: None, in_word: false };
                self.at += 1;
            }
            end if is_end_of_word(end) => self.state = State::Text,
            _ if spelling == Spelling::Plain => self.state = State::Word { first: true },
            _ => self.state = State::Url { depth: 0 },
        }
        Step::Again
    }

    fn before_field(&mut self, text: &[u8]) -> Step {
        match text[self.at] {
            b' ' | b'\t' => self.at += 1,
            b'"' => self.state = State::Before(Spelling::Plain),
            _ => self.state = State::Line { escaped: false, newline: false },
        }
        Step::Again
    }

    fn url(
        &mut self,
        look: Look<'_>,
        depth: u8,
        text: &[u8],
        last: bool,
        out: &mut Vec<Blank>,
    ) -> Step {
        let mut at = self.at;
        let is_end = |value: u8| value.is_ascii_whitespace() || b"&#\"'<>".contains(&value);
        while let Some(&octet) = text.get(at) {
            let (ends, len) = match octet {
                b'\\' if !look.head => match decode::escape(&text[at..], last) {
                    Ok(escape) => (is_end(escape.value), escape.len),
                    Err(Incomplete) => return self.hold(at, out),
                },
                b'%' if depth > 0 => match decode::percent(&text[at..], last) {
                    Ok(octet) => (octet.depth <= depth && is_end(octet.value), octet.len),
                    Err(Incomplete) => return self.hold(at, out),
                },
                plain => (is_end(plain), 1),
            };
            if ends {
                return self.end(at, out);
            }
            at += len;
        }
        self.blank(text.len(), Fill::Stars, out);
        Step::Again
    }

    /// Holds the bytes from `at` on until more bytes arrive.
    fn hold(&mut self, at: usize, out: &mut Vec<Blank>) -> Step {
        self.blank(at, Fill::Stars, out);
        Step::Wait(at)
    }

    fn line(
        &mut self,
        escaped: bool,
        mut newline: bool,
        text: &[u8],
        last: bool,
        out: &mut Vec<Blank>,
    ) -> Step {
        while let Some(&octet) = text.get(self.at) {
            match octet {
                b'\n' => (newline, self.at) = (true, self.at + 1),
                b'\r' => self.at += 1,
                b' ' | b'\t' if self.begins => (newline, self.at) = (false, self.at + 1),
                octet if newline && !b" \t".contains(&octet) => {
                    self.state = State::Text;
                    return Step::Again;
                }
                b'"' if escaped => return self.end(self.at, out),
                b'\\' if escaped => match decode::escape(&text[self.at..], last) {
                    Ok(escape) if b"\n\r\"".contains(&escape.value) => {
                        return self.end(self.at, out);
                    }
                    Ok(escape) => self.blank(self.at + escape.len, Fill::Stars, out),
                    Err(Incomplete) => return self.pause(escaped, newline),
                },
                b'%' if escaped => match decode::percent(&text[self.at..], last) {
                    Ok(octet) if b"\n\r".contains(&octet.value) => return self.end(self.at, out),
                    Ok(octet) => self.blank(self.at + octet.len, Fill::Stars, out),
                    Err(Incomplete) => return self.pause(escaped, newline),
                },
                _ => {
                    newline = false;
                    let rest = &text[self.at..];
                    let is_plain = |octet: &&u8| !b"\r\n\"\\%".contains(octet);
                    let len = rest.iter().take_while(is_plain).count().max(1);
                    self.blank(self.at + len, Fill::Stars, out);
                }
            }
        }
        self.state = State::Line { escaped, newline };
        Step::Again
    }

    fn pause(&mut self, escaped: bool, newline: bool) -> Step {
        self.state = State::Line { escaped, newline };
        Step::Wait(self.at)
    }

    fn string(
        &mut self,
        quote: u8,
        level: u32,
        spelling: Spelling,
        text: &[u8],
        last: bool,
        out: &mut Vec<Blank>,
    ) -> Step {
        let mut at = self.at;
        while let Some(&octet) = text.get(at) {
            let rest = &text[at..];
            at += match octet {
                b'\\' => match decode::escape(rest, last) {
                    Ok(escape) if escape.value == quote && escape.level() <= level => {
                        let content = if escape.level() == level { escape.content() } else { 0 };
                        return self.end(at + content, out);
                    }
                    Ok(escape) => escape.len,
                    Err(Incomplete) => return self.hold(at, out),
                },
                plain if plain == quote => return self.end(at, out),
                b'"' | b'<' if spelling == Spelling::Entity => return self.end(at, out),
                b'&' if spelling == Spelling::Entity => match decode::entity(rest, last) {
                    Ok(Some(octet)) if octet.value == quote => return self.end(at, out),
                    Ok(octet) => octet.map_or(1, |octet| octet.len),
                    Err(Incomplete) => return self.hold(at, out),
                },
                b'&' if spelling != Spelling::Plain => return self.end(at, out),
                b'%' => match (spelling, decode::percent(rest, last)) {
                    (Spelling::Percent(_), Err(Incomplete)) => return self.hold(at, out),
                    (Spelling::Percent(depth), Ok(octet)) if octet.depth <= depth => {
                        match octet.value {
                            value if value == quote => return self.end(at, out),
                            b'\\' => match escaped_by_percent(rest, octet.len, last) {
                                Ok(len) => len,
                                Err(Incomplete) => return self.hold(at, out),
                            },
                            _ => octet.len,
                        }
                    }
                    (Spelling::Percent(_), Ok(octet)) => octet.len,
                    _ => 1,
                },
                _ => 1,
            };
        }
        self.blank(text.len(), Fill::Stars, out);
        Step::Again
    }

    fn word(&mut self, mut first: bool, text: &[u8], last: bool, out: &mut Vec<Blank>) -> Step {
        let mut at = self.at;
        let mut after = None;
        while let Some(&octet) = text.get(at) {
            match octet {
                end if is_end_of_word(end) => after = Some(State::Text),
                quote @ (b'"' | b'\'') => {
                    let spelling = Spelling::Plain;
                    after = Some(State::String { quote, level: 0, spelling });
                }
                b'\\' if !first || at > self.at => match decode::escape(&text[at..], last) {
                    Ok(escape) if b"\n\r\t".contains(&escape.value) => after = Some(State::Text),
                    Ok(_) => {}
                    Err(Incomplete) => break,
                },
                _ => {}
            }
            if after.is_some() {
                break;
            }
            at += 1;
        }
        let any = at > self.at;
        self.blank(at, Fill::Digits { first }, out);
        first &= !any;
        self.state = after.unwrap_or(State::Word { first });
        match after {
            Some(State::String { .. }) => self.at += 1,
            None if at < text.len() => return Step::Wait(at),
            _ => {}
        }
        Step::Again
    }

    fn nested(&mut self, text: &[u8], last: bool, out: &mut Vec<Blank>) -> Step {
        let State::Nested { mut depth, mut level, mut quote, mut in_word } = self.state else {
            return Step::Again;
        };
        let mut step = Step::Again;
        while let Some(&octet) = text.get(self.at) {
            let (mark, len, mark_level, content) = match octet {
                b'\\' => match decode::escape(&text[self.at..], last) {
                    Ok(escape) if b"\"'".contains(&escape.value) => {
                        (Some(escape.value), escape.len, escape.level(), escape.content())
                    }
                    Ok(escape) => (None, escape.len, 0, 0),
                    Err(Incomplete) => {
                        step = Step::Wait(self.at);
                        break;
                    }
                },
                b'"' | b'\'' => (Some(octet), 1, 0, 0),
                _ => (None, 1, 0, 0),
            };
            let is_open = quote.is_some();
            if let Some(mark) = mark
                && quote.is_none_or(|quote| quote == mark)
                && (level == u32::MAX || mark_level <= level)
            {
                // The first quote determines the level of all quotes.
                if level != u32::MAX && mark_level < level {
                    self.state = State::Text;
                    return Step::Again;
                }
                level = mark_level;
                if is_open {
                    self.blank(self.at + content, Fill::Stars, out);
                    self.at += len - content;
                } else {
                    self.at += len;
                }
                (quote, in_word) = (if is_open { None } else { Some(mark) }, false);
                continue;
            }
            match octet {
                _ if is_open => self.blank(self.at + len, Fill::Stars, out),
                b'{' | b'[' => {
                    (depth, in_word, self.at) = (depth.saturating_add(1), false, self.at + 1)
                }
                b'}' | b']' if depth <= 1 => {
                    self.at += 1;
                    self.state = State::Text;
                    return Step::Again;
                }
                b'}' | b']' => (depth, in_word, self.at) = (depth - 1, false, self.at + 1),
                b',' | b':' => (in_word, self.at) = (false, self.at + 1),
                space if space.is_ascii_whitespace() => (in_word, self.at) = (false, self.at + 1),
                b'\\' if len == 2 => (in_word, self.at) = (false, self.at + len),
                _ => {
                    self.blank(self.at + len, Fill::Digits { first: !in_word }, out);
                    in_word = true;
                }
            }
        }
        self.state = State::Nested { depth, level, quote, in_word };
        step
    }
}

/// Returns the length of a percent-encoded backslash of `len` bytes and of the octet that it
/// escapes.
fn escaped_by_percent(text: &[u8], len: usize, last: bool) -> Result<usize, Incomplete> {
    match text.get(len) {
        Some(b'%') => Ok(len + decode::percent(&text[len..], last)?.len),
        Some(_) => Ok(len + 1),
        None if last => Ok(len),
        None => Err(Incomplete),
    }
}

fn is_end_of_word(octet: u8) -> bool {
    octet.is_ascii_whitespace() || b",}]".contains(&octet)
}

/// Multipart forms (RFC 7578).
impl Finder {
    /// Returns whether the `=` belongs to the name of a part.
    fn is_part_name(&mut self, look: Look<'_>, text: &[u8], before: &[u8]) -> bool {
        if look.head || !look.rules.names_pairs() {
            return false;
        }
        let mut words = before.rsplit(|octet| b"; \t\r\n".contains(octet));
        if !words.next().is_some_and(|name| name.eq_ignore_ascii_case(b"name")) {
            return false;
        }
        if self.boundary.is_none() && self.origin && text.starts_with(b"--") {
            let line = memchr(b'\n', &text[..text.len().min(MAX_BOUNDARY)]);
            self.boundary = line.map(|end| text[..end].trim_ascii_end().to_vec());
        }
        self.boundary.is_some()
    }

    fn part_name(&mut self, look: Look<'_>, text: &[u8], last: bool) -> Step {
        let rest = &text[self.at..];
        let (quote, start) = if rest[0] == b'"' { (true, 1) } else { (false, 0) };
        let is_end = |octet: &u8| if quote { b"\"\r\n" } else { b";\r\n" }.contains(octet);
        let Some(len) = rest[start..].iter().position(is_end) else {
            if rest.len() > MAX_NAME || last {
                self.state = State::Text;
                return Step::Again;
            }
            return Step::Wait(text.len());
        };
        let name = decode(&rest[start..start + len]);
        self.at += start + len;
        self.after_equals = self.at;
        self.state = if look.rules.is_pair(&name) { State::PartHead } else { State::Text };
        Step::Again
    }

    fn part_head(&mut self, text: &[u8], last: bool) -> Step {
        let rest = &text[self.at..];
        let ends = [&b"\n\r\n"[..], b"\n\n"].map(|end| Some((memmem::find(rest, end)?, end.len())));
        match ends.into_iter().flatten().min() {
            Some((at, len)) => {
                self.at += at + len;
                self.begin(Rule::Query, State::Part);
                Step::Again
            }
            None if last || rest.len() > MAX_PART_HEAD => {
                self.state = State::Text;
                Step::Again
            }
            None => Step::Wait(text.len()),
        }
    }

    fn part(&mut self, text: &[u8], last: bool, out: &mut Vec<Blank>) -> Step {
        let rest = &text[self.at..];
        let boundary = self.boundary.as_deref().unwrap_or(b"--");
        let found = memmem::find_iter(rest, boundary).find(|&at| at == 0 || rest[at - 1] == b'\n');
        match found {
            Some(at) => {
                let value = rest[..at].strip_suffix(b"\n").unwrap_or(&rest[..at]);
                let value = value.strip_suffix(b"\r").unwrap_or(value);
                let (end, next) = (self.at + value.len(), self.at + at);
                self.blank(end, Fill::Stars, out);
                self.at = next;
                self.state = State::Text;
                Step::Again
            }
            None if last => {
                self.blank(text.len(), Fill::Stars, out);
                Step::Again
            }
            None => {
                let keep = (boundary.len() + 2).min(rest.len());
                let end = text.len() - keep;
                self.hold(end, out)
            }
        }
    }
}

/// Returns the secrets by name in a complete text.
pub(super) fn find(look: Look<'_>, text: &[u8]) -> Vec<Blank> {
    let mut out = Vec::new();
    let mut finder = Finder::new();
    finder.origin = false;
    finder.run(look, text, true, &mut out);
    out
}

#[cfg(test)]
mod tests;
