//! Writes the result of a check as JUnit XML, which CI services show test by test.
//!
//! The format has no standard. This is the part on which its readers agree: `testsuites`, a
//! `testsuite`, a `testcase` for each rule, and in it a `failure`. A damaged capture is a test case
//! of its own, with an `error`, since rules that hold up to the damage prove nothing.

use std::fmt::{self, Display, Write as _};
use std::io::Write;

use anyhow::Result;
use sslrec_cli::text::is_special;

use super::Checked;

/// Writes the report. `file` is the name of the capture.
pub(super) fn write(
    out: &mut impl Write,
    file: &str,
    checked: &Checked,
    damage: Option<&anyhow::Error>,
) -> Result<()> {
    let (tests, failures) = (checked.rules.len() + 1, checked.failed());
    let errors = usize::from(damage.is_some());
    let counts = format!(r#"tests="{tests}" failures="{failures}" errors="{errors}""#);
    writeln!(out, r#"<?xml version="1.0" encoding="UTF-8"?>"#)?;
    writeln!(out, r#"<testsuites {counts}>"#)?;
    writeln!(out, r#"<testsuite name="sslanalyze check {}" {counts} skipped="0">"#, Xml(file))?;
    testcase(out, "the capture is whole", damage.map(|error| ("error", format!("{error:#}"), "")))?;
    for rule in &checked.rules {
        let outcome = rule.outcome();
        let mut findings = String::new();
        for finding in &outcome.findings {
            let id = finding.id.map_or_else(String::new, |id| format!("exchange {id}: "));
            // Writing to a String cannot fail.
            let _ = writeln!(findings, "{id}{}", finding.what);
        }
        let message = format!("{} of {} checked", outcome.failed, outcome.checked);
        let failure = (outcome.failed > 0).then_some(("failure", message, &*findings));
        testcase(out, &rule.name, failure)?;
    }
    writeln!(out, "</testsuite>\n</testsuites>")?;
    Ok(())
}

/// Writes a test case. A problem has the name of the element, the message and the details.
fn testcase(out: &mut impl Write, name: &str, problem: Option<(&str, String, &str)>) -> Result<()> {
    let name = Xml(name);
    match problem {
        None => {
            writeln!(out, r#"<testcase classname="sslanalyze.check" name="{name}" time="0"/>"#)?
        }
        Some((kind, message, details)) => writeln!(
            out,
            r#"<testcase classname="sslanalyze.check" name="{name}" time="0"><{kind} message="{}">{}</{kind}></testcase>"#,
            Xml(&message),
            Xml(details)
        )?,
    }
    Ok(())
}

/// Text for XML 1.0, as content or attribute. Characters that no document may contain (section 2.2)
/// become the replacement character.
struct Xml<'a>(&'a str);

impl Display for Xml<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                // In an attribute, a parser would turn a raw line break into a blank (section
                // 3.3.3).
                '\n' | '\t' | '\r' => write!(f, "&#{};", u32::from(c))?,
                '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => f.write_char('\u{fffd}')?,
                // A document may contain these characters, but a terminal that shows it must not
                // obey them.
                c if is_special(c) => write!(f, "&#x{:x};", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}
