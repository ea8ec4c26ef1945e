//! Finds secrets in URLs. URLs end up in the logs of every proxy and server on the way.
//!
//! A finding names the place and never shows the secret. The names and patterns of secrets are the
//! same as in redaction.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;
use sslrec_analyzer::exchange::Exchange;
pub(super) use sslrec_redact::secrets::without_userinfo;
use sslrec_redact::secrets::{TOKENS, is_secret_name};

/// Pattern of the tokens that are recognised anywhere.
static TOKEN: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(&TOKENS.join("|")).ok());

/// Returns the place of a secret in the URL of an exchange.
pub(super) fn in_url(exchange: &Exchange) -> Option<String> {
    let request = exchange.request.as_ref()?;
    if request.authority().is_some_and(|authority| without_userinfo(&authority) != authority) {
        return Some("user and password before the host".into());
    }
    let target = request.path()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    if is_token(path) {
        return Some("its path holds a token".into());
    }
    let parameter = query.split(['&', ';']).find_map(|part| {
        let (name, value) = part.split_once('=')?;
        let is_secret = is_secret_name(name.as_bytes()) || is_token(value);
        (!value.is_empty() && is_secret).then_some((name, is_blanked(value)))
    })?;
    Some(match parameter {
        (name, false) => format!("its query holds a secret, `{name}`"),
        (name, true) => format!("its query held a secret, `{name}`, which is redacted"),
    })
}

/// Returns the path in a form that may be shown: without its query, and with any token blanked.
pub(super) fn blank_path(path: &str) -> Cow<'_, str> {
    let path = path.split('?').next().unwrap_or_default();
    match &*TOKEN {
        Some(token) => token.replace_all(path, "***"),
        None => Cow::Borrowed(path),
    }
}

fn is_token(text: &str) -> bool {
    TOKEN.as_ref().is_some_and(|token| token.is_match(text))
}

/// Whether redaction has overwritten a value. The program sent it all the same.
fn is_blanked(value: &str) -> bool {
    value.bytes().all(|b| b == b'*')
}

#[cfg(test)]
mod tests {
    use sslrec_analyzer::exchange::{Request, SharedConnection};
    use sslrec_formats::record::Direction;

    use super::*;

    fn found(host: &str, target: &str) -> bool {
        let connection = SharedConnection::default();
        let mut exchange = Exchange::new(&connection, Direction::Sent, 1);
        let mut request = Request { target: Some(target.into()), ..Request::default() };
        request.message.headers.push(b"host", host.as_bytes());
        exchange.request = Some(request);
        in_url(&exchange).is_some()
    }

    #[test]
    fn the_forms_of_tokens_are_regular_expressions() {
        assert!(TOKEN.is_some());
    }

    #[test]
    fn secrets_are_found_by_name_form_and_place() {
        for target in [
            "/login?user=a&password=b",
            "/a?Access-Token=b",
            "/a?api_key=b",
            "/a?X-Amz-Signature=b",
            "/a?pwd=b",
            "/a?token=****",
            "/a?q=ghp_0123456789012345678901234567890123456789",
            "/reset/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
        ] {
            assert!(found("h", target), "{target}");
        }
        assert!(found("user:pass@h", "/"));
        for target in ["/", "/password?next=/a", "/a?page_token=b", "/a?token="] {
            assert!(!found("h", target), "{target}");
        }
    }

    #[test]
    fn shown_paths_contain_no_secrets() {
        let token = "ghp_0123456789012345678901234567890123456789";
        assert_eq!(blank_path(&format!("/a/{token}/b?c={token}")), "/a/***/b");
        assert_eq!(without_userinfo("u:p@h:1"), "h:1");
    }
}
