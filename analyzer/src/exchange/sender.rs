//! The end of a connection that sent a message.

use std::fmt::{self, Display, Formatter};

use sslrec_formats::record::Role;

/// The end that sent a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// The end that sends requests.
    Client,
    /// The other end.
    Server,
}

impl Sender {
    /// Returns the role of the end.
    pub fn role(self) -> Role {
        match self {
            Sender::Client => Role::Client,
            Sender::Server => Role::Server,
        }
    }

    /// Returns the name in the listing.
    pub fn as_str(self) -> &'static str {
        self.role().as_str()
    }
}

impl Display for Sender {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
