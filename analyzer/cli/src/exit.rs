//! Exit codes of `sslanalyze`.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | success; for `check` all rules hold, for `diff` nothing differs |
//! | 1 | a capture is unreadable or damaged; a `check` rule fails; the captures of `diff` differ |
//! | 2 | bad usage; for `diff` any trouble, as in diff(1) |

use std::fmt;

use sslrec_analyzer::filter;

/// A failure, or the negative answer of `check` or `diff`.
const FAILURE: u8 = 1;

/// Bad usage, or trouble of `diff`, which uses 1 for a difference.
const USAGE: u8 = 2;

/// Invalid options or rules.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// The captures that `diff` compared differ.
#[derive(Debug)]
pub(crate) struct Differs;

impl fmt::Display for Differs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the captures differ")
    }
}

impl std::error::Error for Differs {}

/// Returns the exit code of a failed run; `of_diff` is set if the command was `diff`.
pub(crate) fn code(error: &anyhow::Error, of_diff: bool) -> u8 {
    let usage = error.is::<filter::Error>() || error.is::<Usage>();
    let trouble = of_diff && !error.is::<Differs>();
    if usage || trouble { USAGE } else { FAILURE }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn each_kind_of_failure_has_its_code() {
        let usage = || Usage("name one file".into()).into();
        assert_eq!((code(&usage(), false), code(&usage(), true)), (2, 2));
        let bad_filter = filter::Filter::parse("status>").unwrap_err().into();
        assert_eq!(code(&bad_filter, false), 2);
        let damage = || anyhow!("a.pcapng is damaged");
        assert_eq!((code(&damage(), false), code(&damage(), true)), (1, 2));
        assert_eq!(code(&Differs.into(), true), 1);
    }
}
