//! What programs set and ask of their connections: server name, ALPN, version, cipher.
//!
//! Libraries answer in texts or in numbers, by which each means something else; here they become
//! the texts that the files have. Nothing is read but what the program was told itself.

use sslrec_formats::record::Connection;

use crate::functions::{Family, function};
use crate::kernel::skel::types;

/// What is known of a connection by this way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answers {
    sni: Option<String>,
    alpn: Option<String>,
    version: Option<String>,
    cipher: Option<String>,
}

impl Answers {
    /// What an event tells. Nothing, if it is a number without a meaning.
    pub(crate) fn of(told: &types::event_told, text: &[u8]) -> Self {
        let text = (!text.is_empty()).then(|| String::from_utf8_lossy(text).into_owned());
        let number = u32::try_from(told.number).unwrap_or(0);
        let mut answers = Self::default();
        match types::told(told.what) {
            types::told::TOLD_SERVER_NAME => answers.sni = text,
            types::told::TOLD_ALPN => answers.alpn = text,
            types::told::TOLD_CIPHER => answers.cipher = text,
            types::told::TOLD_VERSION => {
                answers.version = text.or_else(|| version(number, told.head.func));
            }
            types::told::TOLD_VERSION_AND_CIPHER => {
                answers.version = version(number & 0xffff, told.head.func);
                answers.cipher = Some(format!("{:#06x}", number >> 16));
            }
            _ => {}
        }
        answers
    }

    /// Takes over what the other knows.
    pub(crate) fn learn(&mut self, other: Self) {
        self.sni = other.sni.or(self.sni.take());
        self.alpn = other.alpn.or(self.alpn.take());
        self.version = other.version.or(self.version.take());
        self.cipher = other.cipher.or(self.cipher.take());
    }

    /// Adds to a connection's record what is known here.
    pub(crate) fn add_to(self, record: &mut Connection) {
        record.sni = self.sni.or(record.sni.take());
        record.alpn = self.alpn.or(record.alpn.take());
        record.version = self.version.or(record.version.take());
        record.cipher = self.cipher.or(record.cipher.take());
    }
}

/// The version that the number of a function's library stands for.
fn version(number: u32, func: u16) -> Option<String> {
    let (family, _) = function(func)?;
    let minor = match family {
        // gnutls_protocol_t: SSL 3.0 is 1.
        Family::GnuTls => number.checked_sub(1)?,
        // The decimal digits of the version, so that TLS 1.3 is 34.
        Family::S2n => number.checked_sub(30)?,
        // As in the protocol: RFC 8446, 4.1.2.
        _ => number.checked_sub(0x300)?,
    };
    let name = match minor {
        0 => "SSLv3",
        1 => "TLSv1",
        2 => "TLSv1.1",
        3 => "TLSv1.2",
        4 => "TLSv1.3",
        _ => return None,
    };
    Some(name.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::index_of;

    fn told(func: &str, what: types::told, number: u64, text: &[u8]) -> Answers {
        let head = types::event { func: index_of(func).unwrap(), ..types::event::default() };
        Answers::of(&types::event_told { head, what: what.0, number, ..Default::default() }, text)
    }

    #[test]
    fn every_library_has_numbers_of_its_own_for_versions() {
        let version = |func, number| told(func, types::told::TOLD_VERSION, number, b"").version;
        assert_eq!(version("gnutls_protocol_get_version", 5).as_deref(), Some("TLSv1.3"));
        assert_eq!(version("gnutls_protocol_get_version", 4).as_deref(), Some("TLSv1.2"));
        let s2n = "s2n_connection_get_actual_protocol_version";
        assert_eq!(version(s2n, 33).as_deref(), Some("TLSv1.2"));
        assert_eq!(version("gnutls_protocol_get_version", 200), None, "DTLS");
        assert_eq!(version(s2n, 0), None);
    }

    #[test]
    fn nss_tells_version_and_cipher_at_once() {
        let number = 0x0304 | 0x1301 << 16;
        let both = types::told::TOLD_VERSION_AND_CIPHER;
        let answers = told("SSL_GetChannelInfo", both, number, b"");
        assert_eq!(answers.version.as_deref(), Some("TLSv1.3"));
        assert_eq!(answers.cipher.as_deref(), Some("0x1301"));
    }

    #[test]
    fn what_comes_later_counts_and_takes_nothing_away() {
        let mut answers = told("SSL_ctrl", types::told::TOLD_SERVER_NAME, 0, b"one");
        answers.learn(told("SSL_get_version", types::told::TOLD_VERSION, 0, b"TLSv1.2"));
        answers.learn(told("SSL_ctrl", types::told::TOLD_SERVER_NAME, 0, b"two"));
        let mut record = Connection { alpn: Some("h2".into()), ..Connection::default() };
        answers.add_to(&mut record);
        assert_eq!(record.sni.as_deref(), Some("two"));
        assert_eq!(record.version.as_deref(), Some("TLSv1.2"));
        assert_eq!(record.alpn.as_deref(), Some("h2"));
    }
}
