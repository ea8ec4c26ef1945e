//! Server-sent events (HTML, section 9.2): the model.

mod reader;

use super::Door;
use crate::exchange::carried::{Carried, bytes_of};

/// The name of the protocol.
pub const NAME: &str = "events";

/// Detection and fields of server-sent events.
pub(super) const DOOR: Door = Door {
    name: NAME,
    asked: reader::asked,
    answered: reader::answered,
    fields: &[],
    json_only: &["events"],
};

/// Server-sent events.
#[derive(Debug, Clone, Default)]
pub struct Events {
    /// Number of events.
    pub count: u64,
    /// When the first event was complete, nanoseconds since the Unix epoch.
    pub first_ns: Option<u64>,
    /// The last `retry` in milliseconds: how long a client waits before it reconnects.
    pub retry_ms: Option<u64>,
    /// The events.
    pub messages: Option<Vec<Event>>,
}

impl Carried for Events {
    fn name(&self) -> &'static str {
        NAME
    }

    fn proto(&self) -> Option<&'static str> {
        None
    }

    fn message_count(&self) -> Option<u64> {
        Some(self.count)
    }

    fn forget_messages(&mut self) {
        self.messages = None;
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Self>() + bytes_of(&self.messages, |message| &message.data)
    }

    fn boxed(&self) -> Box<dyn Carried> {
        Box::new(self.clone())
    }
}

/// An event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// Time of the call with the empty line after the event, nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// `event`: its type, if present.
    pub event: Option<String>,
    /// `id`, if this event sets it.
    pub id: Option<String>,
    /// `data`, with lines joined by line feeds; it should be UTF-8.
    pub data: Vec<u8>,
}
