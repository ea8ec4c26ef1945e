//! Names for gRPC messages, from a descriptor set as written by `protoc -o`.
//!
//! The descriptor set comes from the user, but the messages come from the network. The decoder
//! limits their depth, and a message that does not fit its type is reported.

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::value::RawValue;

use crate::exchange::Sender;
use crate::over_http::grpc::{Grpc, GrpcMessage};

/// The message types and methods of a descriptor set.
#[derive(Debug)]
pub struct Descriptors {
    pool: DescriptorPool,
}

/// Why a descriptor set cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

/// A message with the names of its fields.
#[derive(Debug)]
pub struct Named {
    /// Full name of its type.
    pub name: String,
    /// The message in the JSON format of Protocol Buffers, with the field names of the `.proto`
    /// file; or the reason why it cannot be decoded.
    pub json: Result<Box<RawValue>, String>,
}

impl Descriptors {
    /// Decodes a descriptor set.
    ///
    /// # Errors
    /// The bytes are not a descriptor set, or the set lacks files that other files in it import.
    pub fn decode(set: &[u8]) -> Result<Self, Error> {
        let pool = DescriptorPool::decode(set).map_err(|error| Error(error.to_string()))?;
        Ok(Self { pool })
    }

    /// Returns the message with names; `None` if its method is not in the set or the message is
    /// incomplete.
    pub fn name(&self, grpc: &Grpc, message: &GrpcMessage) -> Option<Named> {
        if message.problem.is_some() {
            return None;
        }
        let message_type = self.message_type(grpc, message.from)?;
        let name = message_type.full_name().to_owned();
        Some(Named { name, json: json(message_type, &message.data) })
    }

    fn message_type(&self, grpc: &Grpc, from: Sender) -> Option<MessageDescriptor> {
        let service = self.pool.get_service_by_name(grpc.service.as_deref()?)?;
        let method =
            service.methods().find(|method| Some(method.name()) == grpc.method.as_deref())?;
        Some(match from {
            Sender::Client => method.input(),
            Sender::Server => method.output(),
        })
    }
}

fn json(message_type: MessageDescriptor, data: &[u8]) -> Result<Box<RawValue>, String> {
    let message = DynamicMessage::decode(message_type, data).map_err(|error| error.to_string())?;
    let options = SerializeOptions::new().use_proto_field_name(true);
    let mut text = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut text);
    let written = message.serialize_with_options(&mut serializer, &options);
    written.map_err(|error| error.to_string())?;
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}
