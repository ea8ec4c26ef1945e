//! gRPC (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>) and gRPC-Web: the model
//! of a call, and its fields.

mod reader;

use super::Door;
use crate::exchange::Sender;
use crate::exchange::carried::{Carried, Count, bytes_of};
use crate::exchange::field::{COUNT, Get::One, Kind, fields};
use crate::exchange::note::MessageProblem;

/// The name of the protocol.
pub const NAME: &str = "grpc";

/// Detection and fields of gRPC.
pub(super) const DOOR: Door = Door {
    name: NAME,
    asked: reader::asked,
    answered: reader::answered,
    fields: FIELDS,
    json_only: &[
        "grpc",
        "grpc.http",
        "grpc.messages",
        "grpc.request_messages",
        "grpc.response_messages",
    ],
};

fields! {
    /// Service of a gRPC call.
    GRPC_SERVICE: [("grpc.service", Kind::Text)], ["grpc", "service"], None, false,
        One(|s| Some(s.carried::<Grpc>()?.service.as_deref()?.into()));
    /// Method of a gRPC call.
    GRPC_METHOD: [("grpc.method", Kind::Text)], ["grpc", "method"], None, false,
        One(|s| Some(s.carried::<Grpc>()?.method.as_deref()?.into()));
    /// Status of a gRPC call.
    GRPC_STATUS: [("grpc.status", COUNT)], ["grpc", "status"], None, false,
        One(|s| Some(u64::from(s.carried::<Grpc>()?.status?).into()));
    /// Status message of a gRPC call.
    GRPC_MESSAGE: [("grpc.message", Kind::Text)], ["grpc", "message"], None, false,
        One(|s| Some(s.carried::<Grpc>()?.message.as_deref()?.into()));
}

/// A call of gRPC.
#[derive(Debug, Clone, Default)]
pub struct Grpc {
    /// The call uses gRPC-Web, whose trailers are in the body.
    pub is_web: bool,
    /// The service with its package, from the path.
    pub service: Option<String>,
    /// The method.
    pub method: Option<String>,
    /// `grpc-status`.
    pub status: Option<u32>,
    /// `grpc-message`, without its percent-encoding.
    pub message: Option<String>,
    /// Data from the client; `None` if its beginning was not recorded.
    pub requests: Option<Count>,
    /// Data from the server; `None` if its beginning was not recorded.
    pub responses: Option<Count>,
    /// The messages of both ends in the order of their completion.
    pub messages: Option<Vec<GrpcMessage>>,
}

impl Grpc {
    /// Returns the name of a status code, if it has a name.
    pub fn name_of(status: u32) -> Option<&'static str> {
        NAMES.get(status as usize).copied()
    }
}

impl Carried for Grpc {
    fn name(&self) -> &'static str {
        NAME
    }

    fn proto(&self) -> Option<&'static str> {
        Some(if self.is_web { "grpc-web" } else { NAME })
    }

    fn message_count(&self) -> Option<u64> {
        Some(self.requests?.messages + self.responses?.messages)
    }

    fn has_failed(&self) -> bool {
        self.status.is_some_and(|status| status != 0)
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

/// Names of status codes, from 0.
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// A message of gRPC.
#[derive(Debug, Clone)]
pub struct GrpcMessage {
    /// Time of the call that completed the message, nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// Sender of the message.
    pub from: Sender,
    /// Length as sent.
    pub bytes: u64,
    /// The message was compressed.
    pub compressed: bool,
    /// The message, decompressed unless there is a `problem`.
    pub data: Vec<u8>,
    /// Why `data` is incomplete or as sent.
    pub problem: Option<MessageProblem>,
}
