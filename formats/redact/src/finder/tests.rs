//! Every spelling, split at every place: secrets are blanked, and all other bytes stay.

use super::line::MAX_HEADER;
use super::*;

/// Blanks a text that arrives in these pieces. Asserts that settled bytes never change.
fn blanked(rules: &[&str], form: bool, text: &str, pieces: &[usize]) -> String {
    let mut all = Rules::default();
    rules.iter().for_each(|rule| all.add(rule.parse().unwrap()));
    let look = Look { rules: &all, form, unsure: false, head: false };
    let (mut finder, mut bytes) = (Finder::new(), text.as_bytes().to_vec());
    let (mut end, mut settled) = (0, 0);
    let mut lens = pieces.iter().copied().cycle();
    while end < text.len() {
        end = (end + lens.next().unwrap()).min(text.len());
        let last = end == text.len();
        let mut out = Vec::new();
        let now = finder.run(look, &text.as_bytes()[..end], last, &mut out);
        for blank in out {
            assert!(blank.range.start >= settled, "{text} {blank:?} {settled}");
            blank.fill.write(&mut bytes[blank.range]);
        }
        assert!(now >= settled && now <= end && (now == end || !last), "{text} {now}");
        settled = now;
    }
    String::from_utf8(bytes).unwrap()
}

fn check(rules: &[&str], form: bool, text: &str, expected: &str) {
    for first in 1..=text.len() {
        for pieces in [&[first, text.len()][..], &[first, 1]] {
            assert_eq!(blanked(rules, form, text, pieces), expected, "{pieces:?}");
        }
    }
    if !form && !text.starts_with("--") {
        check_after_other_text(rules, text, expected);
    }
}

#[test]
fn a_name_is_found_anywhere_in_the_first_line() {
    let space = " ".repeat(MAX_SPACE);
    for name in ["X-Own", "sec-websocket-protocol", "x-much-longer-than-any-well-known-name"] {
        let junk = "\x01".repeat(MAX_HEADER - name.len());
        for line in [format!("{junk}{name}"), format!("{name}{junk}"), format!("\"{name}{junk}\"")]
        {
            for rule in [format!("header:{name}"), "default".to_owned()] {
                let blanked = blanked(&[&rule], false, &format!("{line}{space}: s3cret"), &[1]);
                let is_found = rule != "default"
                    || (name == "sec-websocket-protocol" && !line.starts_with('"'));
                assert_eq!(blanked.contains("s3cret"), !is_found, "{rule} {line}");
            }
        }
    }
}

/// Checks a text after much other text, whose colons are skipped.
fn check_after_other_text(rules: &[&str], text: &str, expected: &str) {
    let lines = rules.iter().any(|rule| rule.starts_with("header:"));
    for count in 60..100 {
        let other = ["{\"a\":1},".repeat(count), (if lines { "\n" } else { "" }).into()].concat();
        let (text, expected) = ([&other, text].concat(), [&other, expected].concat());
        for first in [other.len(), other.len() + 1 + count % 8, text.len()] {
            for pieces in [[first, text.len()], [first, 7]] {
                assert_eq!(blanked(rules, false, &text, &pieces), expected, "{count} {pieces:?}");
            }
        }
    }
}

#[test]
fn a_name_is_found_at_its_greatest_distance_from_the_colon() {
    let far = [" ".repeat(MAX_SPACE), String::new()];
    for space in &far {
        for (rule, name) in [
            ("json:password", format!("{{'{}.password'", "x".repeat(MAX_NAME - 11))),
            ("json:password", format!("{{'password.{}'", "x".repeat(MAX_NAME - 11))),
            ("json:password", format!("{{'%70assword.{}'", "x".repeat(MAX_NAME - 13))),
            ("header:x-own", format!("\n\"X-Own{}\"", "\t".repeat(MAX_NAME - 8))),
        ] {
            let other = "{\"a\":1},".repeat(90);
            let text = format!("{other}{name}{space}:'s3cret'");
            let blanked = blanked(&[rule], false, &text, &[text.len()]);
            assert!(!blanked.contains("s3cret"), "{rule} {} {name}", space.len());
        }
    }
}

#[test]
fn only_values_of_json_are_blanked() {
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
        check(&["json:password", "json:pin"], false, text, expected);
    }
}

#[test]
fn json_is_found_in_every_spelling() {
    for (text, expected) in [
        // A string within a string within a string.
        (r#"{"b":"{\"pin\":\"s\\\"t\",\"x\":1}"}"#, r#"{"b":"{\"pin\":\"******\",\"x\":1}"}"#),
        (r#""{\\\"pin\\\":\\\"s\\\"}""#, r#""{\\\"pin\\\":\\\"*\\\"}""#),
        (r#"{"b":"{\"pin\": 12,\n\"x\":1}"}"#, r#"{"b":"{\"pin\": 10,\n\"x\":1}"}"#),
        (r#"{"b":"{\"pin\":{\"a\":\"s\"},1}"}"#, r#"{"b":"{\"pin\":{\"*\":\"*\"},1}"}"#),
        (r#"{\u0022pin\u0022:\u0022s\u0022,1}"#, r#"{\u0022pin\u0022:\u0022*\u0022,1}"#),
        // JSON5 and Python.
        ("{'pin':'s\"t', x:1}", "{'pin':'***', x:1}"),
        ("{pin: 's', x: 'y'}", "{pin: '*', x: 'y'}"),
        ("{ x: 1, pin : \"s\" }", "{ x: 1, pin : \"*\" }"),
        ("{'pin': u'st'}", "{'pin': 1'**'}"),
        // In forms and attributes.
        ("p=%7B%22pin%22%3A%22s%5C%22t%22%7D&x=1", "p=%7B%22pin%22%3A%22********%22%7D&x=1"),
        ("p=%7B%22pin%22%3A+12%7D&x=1", "p=%7B%22pin%22%3A+*****&x=1"),
        ("p=%257B%2522pin%2522%253A%2522s%2522", "p=%257B%2522pin%2522%253A%2522*%2522"),
        (
            "<a b=\"{&quot;pin&quot;:&quot;s&amp;t&quot;}\">",
            "<a b=\"{&quot;pin&quot;:&quot;*******&quot;}\">",
        ),
        // Names with parts, and lines.
        (r#"{"user.pin":"s","pin[]":"t"}"#, r#"{"user.pin":"*","pin[]":"*"}"#),
        ("x: 1\npin: two words\ny: z", "x: 1\npin: *********\ny: z"),
        // Not names.
        (r#"{"pin_":"s","p":"pin:"}"#, r#"{"pin_":"s","p":"pin:"}"#),
        ("https://pin:8080/", "https://pin:8080/"),
    ] {
        check(&["json:pin"], false, text, expected);
    }
}

#[test]
fn values_in_urls_are_blanked_up_to_their_end() {
    for (text, expected) in [
        ("/a?x=1&token=s3c,ret&y=2", "/a?x=1&token=*******&y=2"),
        ("/a?TOK%45N=s#token=t", "/a?TOK%45N=*#token=*"),
        ("/a?a+b=s&a%20b=t", "/a?a+b=*&a%20b=*"),
        ("token=x /a?token=y z", "token=x /a?token=* z"),
        ("<https://h/?token=y>; rel=next", "<https://h/?token=*>; rel=next"),
        ("/a?mytoken=x&token", "/a?mytoken=x&token"),
    ] {
        check(&["query:token", "query:a b"], false, text, expected);
    }
}

#[test]
fn pairs_are_found_in_every_spelling() {
    for (text, expected) in [
        ("/a?token[]=s&token[0]=t&u[token]=v", "/a?token[]=*&token[0]=*&u[token]=*"),
        ("/a?token%5B%5D=s&x", "/a?token%5B%5D=*&x"),
        ("/a?%2574oken=s&x", "/a?%2574oken=*&x"),
        ("/a?n=%2Fb%3Ftoken%3Ds%26x%3D1&y=2", "/a?n=%2Fb%3Ftoken%3D*%26x%3D1&y=2"),
        ("/a?n=%252Fb%253Ftoken%253Ds%2526t", "/a?n=%252Fb%253Ftoken%253D*%2526t"),
        (r#"{"u":"h?a=b\u0026token=s\u0026c=d"}"#, r#"{"u":"h?a=b\u0026token=*\u0026c=d"}"#),
        (r#"{"u":"http:\/\/h\/?token=s","v":1}"#, r#"{"u":"http:\/\/h\/?token=*","v":1}"#),
        (r#"{"u":"h?token\u003ds\u0026c"}"#, r#"{"u":"h?token\u003d*\u0026c"}"#),
        (r#"{"u":"{\"v\":\"h?token=s\"}"}"#, r#"{"u":"{\"v\":\"h?token=*\"}"}"#),
        ("<a href=\"?a=b&amp;token=s&amp;c\">", "<a href=\"?a=b&amp;token=*&amp;c\">"),
        ("5;token=s;x", "5;token=***"),
    ] {
        check(&["query:token"], false, text, expected);
    }
}

#[test]
fn values_in_forms_are_blanked_up_to_the_next_name() {
    check(&["form:token"], true, "token=a \"b\n#c&x=token=y", "token=*******&x=token=y");
    check(&["form:token"], true, "%74oken=a&token[]=b", "%74oken=*&token[]=*");
    check(&["form:token"], true, "x=%26token%3Da%26b&y=c", "x=%26token%3D*%26b&y=c");
}

#[test]
fn lines_that_look_like_header_fields_are_header_fields() {
    let rules = ["header:x-own", "cookie:sid"];
    for (text, expected) in [
        ("X-Own: a b\r\nx: y", "X-Own: ***\r\nx: y"),
        ("a\n x-own :b\r\n c\r\nd", "a\n x-own :*\r\n**\r\nd"),
        ("a: b\rx_own: c\r\nd", "a: b\rx_own: *\r\nd"),
        ("a\n\"X-Own\": b c\nd", "a\n\"X-Own\": ***\nd"),
        ("{\n  \"X-Own\": \"b\",\n \"d\": \"e\"}", "{\n  \"X-Own\": \"*\",\n \"d\": \"e\"}"),
        ("X-Own:\r\n b\r\nc", "X-Own:\r\n *\r\nc"),
        ("see x-own: a\nxx-own: b", "see x-own: a\nxx-own: b"),
        (r#"{"h":"A: b\r\nX-Own: c\r\nD: e"}"#, r#"{"h":"A: b\r\nX-Own: *\r\nD: e"}"#),
        (r#"{"h":"A: b\nX-Own: c","d":1}"#, r#"{"h":"A: b\nX-Own: *","d":1}"#),
        ("?h=A%0d%0aX-Own: c%0Dd", "?h=A%0d%0aX-Own: *%0Dd"),
        ("Cookie: a=b; sid=c; d=e\nsid=f", "Cookie: a=b; sid=*; d=e\nsid=f"),
        ("Set-Cookie: sid=c; Path=/\r\n", "Set-Cookie: sid=*; Path=/\r\n"),
    ] {
        check(&rules, false, text, expected);
    }
}

#[test]
fn parts_of_forms_are_found_by_name() {
    let text = "--b\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\ns\r\n--t\r\n--b\r\n\
                Content-Disposition: form-data; name=\"x\"\r\n\r\ny\r\n--b\r\n\
                Content-Disposition: form-data; name=pwd\r\n\r\nz\r\n--b--\r\n";
    let expected = text
        .replace("\r\n\r\ns\r\n--t\r\n", "\r\n\r\n******\r\n")
        .replace("\r\n\r\nz", "\r\n\r\n*");
    check(&["default"], false, text, &expected);
}

#[test]
fn compressed_contents_after_an_unrecognised_head_are_blanked() {
    let mut all = Rules::default();
    all.add("default".parse().unwrap());
    let look = Look { rules: &all, form: false, unsure: true, head: false };
    let head = b"ICY 200 OK\r\nContent-Encoding: br\r\nA: b\r\n\r\n";
    let other = b"some text \x1f\x8b\x08";
    for (before, after) in [(&head[..], &b"\x0bbytes\n\nmore"[..]), (other, b"\x00 more")] {
        let text = [before, after].concat();
        for len in 1..text.len() {
            let (mut finder, mut bytes) = (Finder::new(), text.clone());
            let mut out = Vec::new();
            for end in (1..=text.len()).filter(|end| end % len == 0 || *end == text.len()) {
                finder.run(look, &text[..end], end == text.len(), &mut out);
            }
            out.into_iter().for_each(|blank| blank.fill.write(&mut bytes[blank.range]));
            let is_blank = |bytes: &[u8]| bytes.iter().all(|&octet| octet == b'*');
            assert!(is_blank(&bytes[before.len()..]), "{len} {}", bytes.escape_ascii());
            assert!(!bytes[..before.len() - 3].contains(&b'*'), "{}", bytes.escape_ascii());
        }
    }
}

#[test]
fn rows_of_separators_take_no_time() {
    let rules: Rules = "default".parse().unwrap();
    let look = Look { rules: &rules, form: true, unsure: true, head: false };
    let started = std::time::Instant::now();
    for row in [
        "=", ":", "a:", "&=", "%3D", "a%3D", "\"\":", "%22:", "%25", "\\", "&quot;:", "{a:", "\n:",
        "?a%5B=",
    ] {
        let text = row.repeat((1 << 16) / row.len());
        let mut finder = Finder::new();
        assert_eq!(finder.run(look, text.as_bytes(), true, &mut Vec::new()), text.len());
    }
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}
