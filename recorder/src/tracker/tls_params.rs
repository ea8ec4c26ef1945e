//! TLS parameters that programs set or query: server name, ALPN, version, cipher.
//!
//! Libraries return strings or numbers, and number versions differently. Here all become the
//! strings that the files contain. Only the value that the program received is read.

use sslrec_formats::record::Connection;

use crate::functions::function;
use crate::kernel::skel::types;

/// The known parameters of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TlsParams {
    sni: Option<String>,
    alpn: Option<String>,
    version: Option<String>,
    cipher: Option<String>,
}

impl TlsParams {
    /// Returns the parameters of an event; none if it contains an unknown number.
    pub(crate) fn of(event: &types::event_tls_param, text: &[u8]) -> Self {
        let text = (!text.is_empty()).then(|| String::from_utf8_lossy(text).into_owned());
        let number = u32::try_from(event.number).unwrap_or(0);
        let mut params = Self::default();
        match types::tls_param(event.param) {
            types::tls_param::PARAM_SERVER_NAME => params.sni = text,
            types::tls_param::PARAM_ALPN => params.alpn = text,
            types::tls_param::PARAM_CIPHER => params.cipher = text,
            types::tls_param::PARAM_VERSION => {
                params.version = text.or_else(|| version(number, event.head.func));
            }
            types::tls_param::PARAM_VERSION_AND_CIPHER => {
                params.version = version(number & 0xffff, event.head.func);
                params.cipher = Some(format!("{:#06x}", number >> 16));
            }
            _ => {}
        }
        params
    }

    /// Takes over the parameters that the other has.
    pub(crate) fn learn(&mut self, other: Self) {
        self.sni = other.sni.or(self.sni.take());
        self.alpn = other.alpn.or(self.alpn.take());
        self.version = other.version.or(self.version.take());
        self.cipher = other.cipher.or(self.cipher.take());
    }

    /// Adds the known parameters to a connection's record.
    pub(crate) fn add_to(self, record: &mut Connection) {
        record.sni = self.sni.or(record.sni.take());
        record.alpn = self.alpn.or(record.alpn.take());
        record.version = self.version.or(record.version.take());
        record.cipher = self.cipher.or(record.cipher.take());
    }
}

/// Returns the version of TLS with this number in the library of a function.
fn version(number: u32, func: u16) -> Option<String> {
    let (family, _) = function(func)?;
    family.library().version(number).map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::index_of;

    fn params(func: &str, param: types::tls_param, number: u64, text: &[u8]) -> TlsParams {
        let head = types::event { func: index_of(func).unwrap(), ..types::event::default() };
        let event = types::event_tls_param { head, param: param.0, number, ..Default::default() };
        TlsParams::of(&event, text)
    }

    #[test]
    fn every_library_has_numbers_of_its_own_for_versions() {
        let version =
            |func, number| params(func, types::tls_param::PARAM_VERSION, number, b"").version;
        assert_eq!(version("gnutls_protocol_get_version", 5).as_deref(), Some("TLSv1.3"));
        assert_eq!(version("gnutls_protocol_get_version", 4).as_deref(), Some("TLSv1.2"));
        let s2n = "s2n_connection_get_actual_protocol_version";
        assert_eq!(version(s2n, 33).as_deref(), Some("TLSv1.2"));
        assert_eq!(version("gnutls_protocol_get_version", 200), None, "DTLS");
        assert_eq!(version(s2n, 0), None);
    }

    #[test]
    fn nss_returns_version_and_cipher_at_once() {
        let number = 0x0304 | 0x1301 << 16;
        let both = types::tls_param::PARAM_VERSION_AND_CIPHER;
        let all = params("SSL_GetChannelInfo", both, number, b"");
        assert_eq!(all.version.as_deref(), Some("TLSv1.3"));
        assert_eq!(all.cipher.as_deref(), Some("0x1301"));
    }

    #[test]
    fn later_parameters_replace_earlier_ones_and_remove_none() {
        let mut all = params("SSL_ctrl", types::tls_param::PARAM_SERVER_NAME, 0, b"one");
        all.learn(params("SSL_get_version", types::tls_param::PARAM_VERSION, 0, b"TLSv1.2"));
        all.learn(params("SSL_ctrl", types::tls_param::PARAM_SERVER_NAME, 0, b"two"));
        let mut record = Connection { alpn: Some("h2".into()), ..Connection::default() };
        all.add_to(&mut record);
        assert_eq!(record.sni.as_deref(), Some("two"));
        assert_eq!(record.version.as_deref(), Some("TLSv1.2"));
        assert_eq!(record.alpn.as_deref(), Some("h2"));
    }
}
