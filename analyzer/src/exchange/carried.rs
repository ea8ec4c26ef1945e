//! The model of protocols on top of HTTP: the properties that all of them have.
//!
//! Each protocol has its own model and reader in `over_http`. Messages are always counted, and kept
//! only if contents are requested. Unknown is `None`.

use std::any::Any;
use std::fmt::Debug;

/// The data of a protocol on top of HTTP.
pub trait Carried: Any + Debug + Send + Sync {
    /// Returns the name of the protocol, which is its key in the JSON.
    fn name(&self) -> &'static str;

    /// Returns the protocol, if the exchange is listed by it and not by its version of HTTP.
    fn proto(&self) -> Option<&'static str>;

    /// Returns the number of messages of both ends; `None` if the number of an end is unknown.
    fn message_count(&self) -> Option<u64>;

    /// Returns whether the protocol reports a failure, whatever the status of HTTP.
    fn has_failed(&self) -> bool {
        false
    }

    /// Removes the messages and keeps their counts.
    fn forget_messages(&mut self);

    /// Returns the approximate memory in bytes.
    fn memory_bytes(&self) -> usize;

    /// Returns a copy.
    fn boxed(&self) -> Box<dyn Carried>;
}

impl Clone for Box<dyn Carried> {
    fn clone(&self) -> Self {
        (**self).boxed()
    }
}

/// Returns the approximate memory of messages, whose contents `data` returns.
pub(crate) fn bytes_of<T>(messages: &Option<Vec<T>>, data: impl Fn(&T) -> &Vec<u8>) -> usize {
    let Some(messages) = messages else { return 0 };
    messages.capacity() * size_of::<T>()
        + messages.iter().map(|message| data(message).capacity()).sum::<usize>()
}

/// The amount of data in a direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Complete messages, without control frames of a WebSocket.
    pub messages: u64,
    /// Bytes of their contents as sent, compressed or not, and without framing.
    pub bytes: u64,
}
