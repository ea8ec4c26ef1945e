//! The end of a connection that sent a message.

use std::fmt::{self, Display, Formatter};

/// The end that sent a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// The end that sends requests.
    Client,
    /// The other end.
    Server,
}

impl Sender {
    /// Returns the name in the listing.
    pub fn as_str(self) -> &'static str {
        match self {
            Sender::Client => "client",
            Sender::Server => "server",
        }
    }
}

impl Display for Sender {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
