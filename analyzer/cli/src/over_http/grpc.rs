//! gRPC and gRPC-Web in the outputs.

use std::io::{self, Write};

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::value::RawValue;
use sslrec_analyzer::descriptors::{Descriptors, Named};
use sslrec_analyzer::exchange::carried::Count;
use sslrec_analyzer::exchange::note::MessageProblem;
use sslrec_analyzer::exchange::{Exchange, Sender};
use sslrec_analyzer::over_http::grpc::{Grpc, GrpcMessage};
use sslrec_analyzer::protobuf::{self, Field, Value};
use sslrec_analyzer::text::Rfc3339;
use sslrec_cli::text::Printable;

use super::json::{Base64Text, base64};
use super::{Shown, messages, write_start};
use crate::safe_json;
use crate::text::Text;
use crate::{hexdump, pretty};

/// Maximum number of bytes shown of a Protocol Buffers field.
const SHOWN_BYTES: usize = 32;

impl Shown for Grpc {
    fn summary(&self) -> String {
        let count = |count: Option<Count>| count.map_or("?".to_owned(), |c| c.messages.to_string());
        match self.status {
            Some(status @ 1..) => match Grpc::name_of(status) {
                Some(name) => format!("grpc {name}"),
                None => format!("grpc status {status}"),
            },
            _ => format!("grpc {} up {} down", count(self.requests), count(self.responses)),
        }
    }

    fn write_json(
        &self,
        out: &mut dyn Write,
        exchange: &Exchange,
        descriptors: Option<&Descriptors>,
    ) -> serde_json::Result<()> {
        safe_json::to_writer(out, &grpc_object(exchange, self, descriptors))
    }

    fn replaces_body(&self, from: Sender) -> bool {
        self.messages.iter().flatten().any(|message| message.from == from)
    }

    fn show(
        &self,
        out: &mut dyn Write,
        first_ns: u64,
        descriptors: Option<&Descriptors>,
    ) -> io::Result<()> {
        let count = |count: Option<Count>| {
            count.map_or("an unknown number of messages".to_owned(), |count| {
                messages(count.messages)
            })
        };
        write!(out, "* gRPC: {} from the client, ", count(self.requests))?;
        write!(out, "{} from the server", count(self.responses))?;
        match self.status {
            Some(status) => {
                write!(out, "; status {status} {}", Grpc::name_of(status).unwrap_or(""))?
            }
            None => write!(out, "; no status")?,
        }
        match self.message.as_deref() {
            Some(message) if !message.is_empty() => writeln!(out, ": {}", Printable(message))?,
            _ => writeln!(out)?,
        }
        self.messages.iter().flatten().try_for_each(|message| {
            let named = descriptors.and_then(|descriptors| descriptors.name(self, message));
            write_grpc_message(out, message, first_ns, named)
        })
    }
}

fn write_grpc_message(
    out: &mut dyn Write,
    message: &GrpcMessage,
    first_ns: u64,
    named: Option<Named>,
) -> io::Result<()> {
    write_start(out, message.from, message.time_ns, first_ns)?;
    let compressed = if message.compressed { " compressed" } else { "" };
    let name = named.as_ref().map_or("message".to_owned(), |named| named.name.clone());
    writeln!(out, "{name} of {} bytes{compressed}", message.bytes)?;
    if let Some(problem) = &message.problem {
        writeln!(out, "* {}", Printable(&problem.to_string()))?;
        return hexdump::write_start(out, &message.data);
    }
    match named.map(|named| named.json) {
        Some(Ok(json)) => return write_json(out, json.get()),
        Some(Err(why)) => writeln!(out, "* not a {name}: {}", Printable(&why))?,
        None => {}
    }
    match protobuf::fields(&message.data) {
        Some(fields) => write_fields(out, &fields, 1),
        None => hexdump::write_start(out, &message.data),
    }
}

fn write_json(out: &mut dyn Write, json: &str) -> io::Result<()> {
    let laid_out = pretty::json(json);
    let mut lines = laid_out.as_deref().unwrap_or(json).lines();
    lines.try_for_each(|line| writeln!(out, "  {}", Printable(line)))
}

fn write_fields(out: &mut dyn Write, fields: &[Field<'_>], depth: usize) -> io::Result<()> {
    let indent = 2 * depth;
    for Field { number, value } in fields {
        write!(out, "{:indent$}{number}: ", "")?;
        match value {
            Value::Varint(value) => writeln!(out, "{value}")?,
            // The wire type holds integers and floating-point numbers, so both are shown.
            Value::Fixed64(bits) => writeln!(out, "{bits:#018x} ({})", f64::from_bits(*bits))?,
            Value::Fixed32(bits) => writeln!(out, "{bits:#010x} ({})", f32::from_bits(*bits))?,
            Value::Text(text) => writeln!(out, "\"{}\"", Printable(text))?,
            Value::Bytes(bytes) => {
                write!(out, "{} bytes", bytes.len())?;
                bytes.iter().take(SHOWN_BYTES).try_for_each(|byte| write!(out, " {byte:02x}"))?;
                writeln!(out, "{}", if bytes.len() > SHOWN_BYTES { " ..." } else { "" })?;
            }
            Value::Group(fields) | Value::Message(fields) => {
                writeln!(out, "{{")?;
                write_fields(out, fields, depth + 1)?;
                writeln!(out, "{:indent$}}}", "")?;
            }
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct GrpcObject<'a> {
    http: &'static str,
    service: Option<&'a str>,
    method: Option<&'a str>,
    status: Option<u32>,
    message: Option<&'a str>,
    request_messages: Option<u64>,
    response_messages: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<GrpcMessages<'a>>,
}

/// The messages of a call, each converted to an object while it is serialised.
struct GrpcMessages<'a> {
    grpc: &'a Grpc,
    messages: &'a [GrpcMessage],
    descriptors: Option<&'a Descriptors>,
}

impl Serialize for GrpcMessages<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { grpc, messages, descriptors } = self;
        serializer.collect_seq(messages.iter().map(|message| {
            let named = descriptors.and_then(|descriptors| descriptors.name(grpc, message));
            grpc_message(message, named)
        }))
    }
}

#[derive(Serialize)]
struct GrpcMessageObject<'a> {
    time: Text<Rfc3339>,
    from: &'static str,
    bytes: u64,
    compressed: bool,
    data: Base64Text<'a>,
    #[serde(flatten)]
    view: GrpcView<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// The decoded contents of a message.
#[derive(Serialize)]
#[serde(untagged)]
enum GrpcView<'a> {
    Named {
        r#type: String,
        message: Box<RawValue>,
    },
    /// Decoded without a schema; `null` if the contents are not a Protocol Buffers message.
    Wire {
        fields: Option<FieldList<'a>>,
    },
}

fn grpc_message(message: &GrpcMessage, named: Option<Named>) -> GrpcMessageObject<'_> {
    let wire = || GrpcView::Wire {
        fields: protobuf::fields(&message.data)
            .filter(|_| message.problem.is_none())
            .map(FieldList),
    };
    let problem = message.problem.as_ref().map(MessageProblem::to_string);
    let (view, problem) = match named {
        None => (wire(), problem),
        Some(Named { name, json: Ok(message) }) => {
            (GrpcView::Named { r#type: name, message }, problem)
        }
        Some(Named { name, json: Err(why) }) => (wire(), Some(format!("not a {name}: {why}"))),
    };
    GrpcMessageObject {
        time: Text(Rfc3339(message.time_ns)),
        from: message.from.as_str(),
        bytes: message.bytes,
        compressed: message.compressed,
        data: base64(&message.data),
        view,
        problem,
    }
}

fn grpc_object<'a>(
    exchange: &Exchange,
    grpc: &'a Grpc,
    descriptors: Option<&'a Descriptors>,
) -> GrpcObject<'a> {
    let messages = grpc.messages.as_deref();
    GrpcObject {
        http: exchange.proto,
        service: grpc.service.as_deref(),
        method: grpc.method.as_deref(),
        status: grpc.status,
        message: grpc.message.as_deref(),
        request_messages: grpc.requests.map(|count| count.messages),
        response_messages: grpc.responses.map(|count| count.messages),
        messages: messages.map(|messages| GrpcMessages { grpc, messages, descriptors }),
    }
}

/// Fields of a Protocol Buffers message.
struct FieldList<'a>(Vec<Field<'a>>);

impl Serialize for FieldList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(FieldObject))
    }
}

struct FieldObject<'f, 'a>(&'f Field<'a>);

impl Serialize for FieldObject<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Field { number, value } = self.0;
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("field", number)?;
        map.serialize_entry("wire", value.wire())?;
        match value {
            Value::Varint(value) | Value::Fixed64(value) => map.serialize_entry("value", value)?,
            Value::Fixed32(value) => map.serialize_entry("value", value)?,
            Value::Text(text) => map.serialize_entry("text", text)?,
            Value::Bytes(bytes) => map.serialize_entry("bytes", &base64(bytes))?,
            Value::Group(fields) | Value::Message(fields) => {
                let fields: Vec<_> = fields.iter().map(FieldObject).collect();
                map.serialize_entry("fields", &fields)?;
            }
        }
        map.end()
    }
}
