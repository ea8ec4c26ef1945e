//! The values that the fields of an item have.

use std::borrow::Cow;
use std::net::SocketAddr;

use sslrec_formats::record::Direction;

use super::field::{Field, Part, Plain, Side};
use crate::exchange::carried::Grpc;
use crate::exchange::{
    Carried, ConnectionInfo, Exchange, Handshake, Item, Message, Response, Stream,
};
use crate::text::{Rfc3339, latin1};

/// A known value of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// Text, as in the JSON.
    Text(Cow<'a, str>),
    /// A number; of times and durations, nanoseconds.
    Number(u64),
    /// A condition.
    Bool(bool),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Value::Text(Cow::Borrowed(text))
    }
}

impl<'a> From<Cow<'a, str>> for Value<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        Value::Text(text)
    }
}

impl From<SocketAddr> for Value<'_> {
    fn from(addr: SocketAddr) -> Self {
        Value::Text(Cow::Owned(addr.to_string()))
    }
}

impl From<u64> for Value<'_> {
    fn from(number: u64) -> Self {
        Value::Number(number)
    }
}

/// An item that is asked.
pub(super) struct Subject<'a> {
    info: &'a ConnectionInfo,
    /// Direction in which the client's bytes went.
    client: Option<Direction>,
    kind: Kind<'a>,
}

#[derive(Clone, Copy)]
enum Kind<'a> {
    Exchange(&'a Exchange),
    Stream(&'a Stream),
    Handshake(&'a Handshake),
}

impl Subject<'_> {
    /// Asks an item.
    pub(super) fn with<T>(item: &Item, ask: impl FnOnce(&Subject<'_>) -> T) -> T {
        match item {
            Item::Exchange(exchange) => ask(&Subject {
                info: &exchange.connection,
                client: Some(exchange.request_direction),
                kind: Kind::Exchange(exchange),
            }),
            Item::Stream(stream) => {
                let info = &*stream.connection;
                let client = info.client_direction();
                ask(&Subject { info, client, kind: Kind::Stream(stream) })
            }
            Item::Handshake(handshake) => {
                let info = &*handshake.connection;
                let client = info.client_direction();
                ask(&Subject { info, client, kind: Kind::Handshake(handshake) })
            }
        }
    }

    /// Hands all values of a field to `see`; nothing where it is not known.
    pub(super) fn values(&self, field: &Field, see: &mut dyn FnMut(Value<'_>)) {
        match field {
            Field::Named { part, side, name } => self.named(*part, *side, name, see),
            Field::Plain(Plain::Note) => {
                let notes = match self.kind {
                    Kind::Exchange(exchange) => &exchange.notes,
                    Kind::Stream(stream) => &stream.notes,
                    Kind::Handshake(_) => return,
                };
                notes.iter().for_each(|note| see(Value::from(&**note)));
            }
            Field::Plain(plain) => {
                let value = self.of_connection(*plain).or_else(|| match self.kind {
                    Kind::Exchange(exchange) => self.of_exchange(*plain, exchange),
                    Kind::Stream(stream) => self.of_stream(*plain, stream),
                    Kind::Handshake(handshake) => of_handshake(*plain, handshake),
                });
                value.into_iter().for_each(see);
            }
        }
    }

    fn named(&self, part: Part, side: Option<Side>, name: &str, see: &mut dyn FnMut(Value<'_>)) {
        let Kind::Exchange(exchange) = self.kind else { return };
        let request = exchange.request.as_ref().map(|r| (Side::Request, &r.message));
        let response = exchange.response.as_ref().map(|r| (Side::Response, &r.message));
        for (of, message) in request.into_iter().chain(response) {
            if side.is_some_and(|side| side != of) {
                continue;
            }
            let fields = match part {
                Part::Header => &message.headers,
                Part::Trailer => &message.trailers,
            };
            fields.all(name).for_each(|value| see(latin1(value).into()));
        }
    }

    /// What all have from their connection.
    fn of_connection(&self, field: Plain) -> Option<Value<'_>> {
        let record = &self.info.record;
        let ends = self.client.map(|client| self.info.ends(client));
        Some(match field {
            Plain::Conn => record.conn.into(),
            Plain::Pid => u64::from(self.info.pid()?).into(),
            Plain::Comm => self.info.comm.as_deref()?.into(),
            Plain::Role => self.info.role(self.client)?.as_str().into(),
            Plain::Lib => self.info.lib()?.into(),
            Plain::Client => ends?.0?.into(),
            Plain::Server => ends?.1?.into(),
            Plain::Addr => record.addr.as_str().into(),
            Plain::Sni => record.sni.as_deref()?.into(),
            Plain::Alpn => record.alpn.as_deref()?.into(),
            Plain::Version => record.version.as_deref()?.into(),
            Plain::Cipher => record.cipher.as_deref()?.into(),
            _ => return None,
        })
    }

    fn of_exchange<'a>(&'a self, field: Plain, exchange: &'a Exchange) -> Option<Value<'a>> {
        let request = exchange.request.as_ref();
        let response = exchange.response.as_ref();
        let bytes = |message: &Message| message.body.bytes.into();
        Some(match field {
            Plain::Type => "exchange".into(),
            Plain::Id => exchange.id.into(),
            Plain::Stream => exchange.stream.into(),
            Plain::Proto => exchange.listed_proto().into(),
            Plain::Time => Value::Text(Cow::Owned(Rfc3339(exchange.first_ns()).to_string())),
            Plain::Method => request?.method.as_deref()?.into(),
            Plain::Url => request?.url(self.info.tls)?.into(),
            Plain::Authority => request?.authority()?.into(),
            Plain::Host => request?.host()?.into(),
            Plain::Path => request?.path()?.into(),
            Plain::RequestBytes => bytes(&request?.message),
            Plain::Status => u64::from(response?.status?).into(),
            Plain::Reason => reason(response?),
            Plain::ResponseBytes => bytes(&response?.message),
            Plain::Ttfb => exchange.ttfb_ns()?.into(),
            Plain::Duration => exchange.duration_ns()?.into(),
            Plain::Complete => Value::Bool(exchange.complete),
            Plain::Request => Value::Bool(request.is_some()),
            Plain::Response => Value::Bool(response.is_some()),
            Plain::LostBytes => exchange.lost_bytes.into(),
            Plain::Messages => exchange.carried.as_ref()?.message_count()?.into(),
            Plain::GrpcService => grpc(exchange)?.service.as_deref()?.into(),
            Plain::GrpcMethod => grpc(exchange)?.method.as_deref()?.into(),
            Plain::GrpcStatus => u64::from(grpc(exchange)?.status?).into(),
            Plain::GrpcMessage => grpc(exchange)?.message.as_deref()?.into(),
            _ => return None,
        })
    }

    fn of_stream<'a>(&'a self, field: Plain, stream: &'a Stream) -> Option<Value<'a>> {
        let halves =
            self.client.map(|client| (&stream.halves[client], &stream.halves[client.reverse()]));
        Some(match field {
            Plain::Type | Plain::Proto => "stream".into(),
            Plain::Time => Value::Text(Cow::Owned(Rfc3339(stream.first_ns).to_string())),
            Plain::ClientBytes => halves?.0.bytes.into(),
            Plain::ServerBytes => halves?.1.bytes.into(),
            Plain::Duration => stream.last_ns.checked_sub(stream.first_ns)?.into(),
            Plain::Complete => Value::Bool(stream.complete),
            Plain::LostBytes => stream.lost_bytes.into(),
            _ => return None,
        })
    }
}

fn of_handshake(field: Plain, handshake: &Handshake) -> Option<Value<'_>> {
    Some(match field {
        Plain::Type => "handshake".into(),
        Plain::Time => Value::Text(Cow::Owned(Rfc3339(handshake.first_ns).to_string())),
        Plain::Latency => handshake.latency_ns()?.into(),
        Plain::Ok => Value::Bool(handshake.ok),
        Plain::Result => Value::Text(Cow::Owned(handshake.result?.to_string())),
        Plain::Func => (&*handshake.func).into(),
        _ => return None,
    })
}

fn grpc(exchange: &Exchange) -> Option<&Grpc> {
    match exchange.carried.as_deref()? {
        Carried::Grpc(grpc) => Some(grpc),
        Carried::WebSocket(_) | Carried::Events(_) => None,
    }
}

fn reason(response: &Response) -> Value<'_> {
    latin1(&response.reason).into()
}
