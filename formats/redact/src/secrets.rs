//! Secrets by name and by shape: the list that redaction and `sslanalyze check` share.
//!
//! Names are folded before they are compared: case, `-`, `_` and brackets do not count, so that
//! `X-Api-Key`, `api_key` and `auth[apiKey]` are found alike.

use std::sync::LazyLock;

use regex_automata::util::prefilter::Prefilter;
use regex_automata::{MatchKind, Span};

/// Header fields that hold credentials, in lower case.
pub const HEADERS: [&str; 71] = [
    "authorization",
    "proxy-authorization",
    "authentication",
    "authentication-info",
    "proxy-authentication-info",
    "x-authorization",
    "x-forwarded-authorization",
    "x-original-authorization",
    "x-ms-authorization-auxiliary",
    "cookie",
    "cookie2",
    "set-cookie",
    "set-cookie2",
    "api-key",
    "apikey",
    "x-api-key",
    "x-apikey",
    "x-api-token",
    "x-api-secret",
    "api-token",
    "auth-token",
    "auth-key",
    "access-token",
    "x-token",
    "x-auth",
    "x-auth-token",
    "x-auth-key",
    "x-access-token",
    "x-access-key",
    "x-secret-key",
    "x-client-secret",
    "x-user-token",
    "x-session-token",
    "x-session-id",
    "x-refresh-token",
    "x-forwarded-access-token",
    "x-id-token",
    "x-jwt-assertion",
    "x-password",
    "x-csrf-token",
    "x-csrftoken",
    "x-xsrf-token",
    "csrf-token",
    "xsrf-token",
    "x-goog-api-key",
    "x-goog-iap-jwt-assertion",
    "x-goog-authenticated-user-jwt",
    "x-amz-security-token",
    "x-amzn-oidc-accesstoken",
    "x-amzn-oidc-data",
    "x-aws-ec2-metadata-token",
    "x-functions-key",
    "ocp-apim-subscription-key",
    "private-token",
    "job-token",
    "deploy-token",
    "x-gitlab-token",
    "x-vault-token",
    "x-consul-token",
    "x-nomad-token",
    "x-shopify-access-token",
    "x-rapidapi-key",
    "x-algolia-api-key",
    "x-plex-token",
    "x-emby-token",
    "dd-api-key",
    "dd-application-key",
    "fastly-key",
    "circle-token",
    "cf-access-client-secret",
    "cf-access-jwt-assertion",
];

/// The length of the longest name of a header field that redaction knows.
pub(crate) const LONGEST_HEADER: usize = {
    let (mut longest, mut at) = ("sec-websocket-protocol".len(), 0);
    while at < HEADERS.len() {
        if HEADERS[at].len() > longest {
            longest = HEADERS[at].len();
        }
        at += 1;
    }
    longest
};

/// Parts of the names of query and form fields that hold secrets, folded.
const NAMES: [&str; 12] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "credential",
    "authorization",
    "sessionid",
    "amzsignature",
];

/// Names that denote secrets only if the entire name matches.
const WHOLE_NAMES: [&str; 8] = ["pwd", "pass", "auth", "jwt", "sig", "sid", "otp", "bearer"];

/// Names that contain an entry of [`NAMES`] and denote no secret.
const HARMLESS: [&str; 4] = ["pagetoken", "nextpagetoken", "tokentype", "continuationtoken"];

/// Shapes of tokens, as regular expressions: JWT (RFC 7519), GitHub, AWS, Slack, Stripe, GitLab and
/// Google.
pub const TOKENS: [&str; 7] = [
    r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
    r"gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}",
    r"AKIA[0-9A-Z]{16}|ASIA[0-9A-Z]{16}",
    r"xox[abeprs]-[A-Za-z0-9-]{10,}",
    r"[rs]k_live_[A-Za-z0-9]{16,}",
    r"glpat-[A-Za-z0-9_-]{20,}",
    r"AIza[0-9A-Za-z_-]{35}",
];

/// The longest folded name that is compared.
const MAX_NAME: usize = 64;

/// Returns whether a query or form field of this name is a secret.
pub fn is_secret_name(name: &[u8]) -> bool {
    let mut folded = [0; MAX_NAME];
    let mut len = 0;
    for octet in name.iter().filter(|octet| octet.is_ascii_alphanumeric()) {
        // For a longer name the last part is compared.
        if len == MAX_NAME {
            folded.rotate_left(1);
            len -= 1;
        }
        folded[len] = octet.to_ascii_lowercase();
        len += 1;
    }
    let folded = &folded[..len];
    let is = |known: &&str| known.as_bytes() == folded;
    let last = name.rsplit(|octet| b"[.".contains(octet)).find(|part| part.len() > 1);
    let is_last = |known: &&str| {
        let last = last.unwrap_or_default().trim_ascii_end();
        last.strip_suffix(b"]").unwrap_or(last).eq_ignore_ascii_case(known.as_bytes())
    };
    !HARMLESS.iter().any(is)
        && (WHOLE_NAMES.iter().any(|known| is(known) || is_last(known)) || holds_name(folded))
}

/// Returns whether a folded name contains an entry of [`NAMES`].
fn holds_name(folded: &[u8]) -> bool {
    static FINDER: LazyLock<Option<Prefilter>> =
        LazyLock::new(|| Prefilter::new(MatchKind::LeftmostFirst, &NAMES));
    match &*FINDER {
        Some(finder) => finder.find(folded, Span::from(0..folded.len())).is_some(),
        None => NAMES.iter().any(|part| memchr::memmem::find(folded, part.as_bytes()).is_some()),
    }
}

/// Returns whether a header field holds credentials. The name is in lower case.
pub fn is_secret_header(name: &[u8]) -> bool {
    /// For each octet, the lengths of the names that begin with it, as bits.
    static LENGTHS: [u64; 256] = {
        let (mut lengths, mut at) = ([0; 256], 0);
        while at < HEADERS.len() {
            let name = HEADERS[at].as_bytes();
            assert!(name.len() < 64);
            lengths[name[0] as usize] |= 1 << name.len();
            at += 1;
        }
        lengths
    };
    let Some(&first) = name.first() else { return false };
    name.len() < 64
        && LENGTHS[usize::from(first)] >> name.len() & 1 != 0
        && HEADERS.iter().any(|known| known.as_bytes() == name)
}

/// Returns the part of an authority after its user information.
pub fn without_userinfo(authority: &str) -> &str {
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_every_spelling() {
        for name in [
            "password",
            "Access-Token",
            "api_key",
            "X-Amz-Signature",
            "pwd",
            "user[password]",
            "password[]",
            "user[pwd]",
            "a.b.sid",
            "client_secret",
            "apiKey",
        ] {
            assert!(is_secret_name(name.as_bytes()), "{name}");
        }
        let long = ["x".repeat(100).as_str(), "password"].concat();
        assert!(is_secret_name(long.as_bytes()));
        for name in ["", "page_token", "q", "sidebar", "compass", "author", "token_type", "design"]
        {
            assert!(!is_secret_name(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn headers_are_in_lower_case_and_distinct() {
        let mut sorted = HEADERS.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), HEADERS.len());
        assert!(HEADERS.iter().all(|name| name.to_ascii_lowercase() == *name));
        assert!(HEADERS.iter().all(|name| is_secret_header(name.as_bytes())));
        assert!(!is_secret_header(b"") && !is_secret_header(b"authorizatiom"));
        assert!(!is_secret_header(&[b'a'; 64]) && !is_secret_header(b"host"));
        assert_eq!(without_userinfo("u:p@h:1"), "h:1");
    }
}
