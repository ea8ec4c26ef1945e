//! The contents of an item, taken out of the model to be shown beside its JSON.

use std::io;

use serde::Serialize;
use sslrec_analyzer::coding;
use sslrec_analyzer::exchange::{Exchange, Message, Sender, Stream, StreamHalf};
use sslrec_formats::record::Direction;

use super::body::{Beginning, ShownBody};
use crate::over_http;

/// The contents of an item.
#[derive(Serialize)]
pub(super) struct Contents {
    /// The client's body. For a stream with an unknown client, the data of the local end.
    client: Option<ShownBody>,
    /// The server's body.
    server: Option<ShownBody>,
    /// Messages on top of HTTP, in the format of `show`. They can replace either body, or both.
    messages: Option<ShownBody>,
    /// Version and cipher of TLS.
    tls: Option<String>,
}

impl Contents {
    /// Takes the contents out of an exchange, at most `limit` bytes of each part.
    pub(super) fn take_of_exchange(exchange: &mut Exchange, limit: usize) -> io::Result<Self> {
        coding::undo(exchange);
        let mut text = Beginning::new(limit);
        over_http::show(&mut text, exchange, None)?;
        let messages = text.into_shown();
        let stands_for = |from| over_http::replaces_body(exchange, from);
        let [no_client, no_server] = [Sender::Client, Sender::Server].map(stands_for);
        let take = |message: &mut Message, left_out: bool| {
            let data = message.body.data.take().filter(|_| !left_out)?;
            ShownBody::of_message(message, &data, limit)
        };
        let request = exchange.request.as_mut().map(|request| &mut request.message);
        let client = request.and_then(|message| take(message, no_client));
        let response = exchange.response.as_mut().map(|response| &mut response.message);
        let server = response.and_then(|message| take(message, no_server));
        if let Some(carried) = &mut exchange.carried {
            carried.forget_messages();
        }
        let tls = exchange.connection.version_and_cipher();
        Ok(Self { client, server, messages, tls })
    }

    /// Takes the contents out of a stream, at most `limit` bytes of each end.
    pub(super) fn take_of_stream(stream: &mut Stream, limit: usize) -> Self {
        let shown = |half: &StreamHalf| ShownBody::of_bytes(half.data.as_deref()?, limit);
        let (sent, received) = (shown(&stream.halves.sent), shown(&stream.halves.received));
        stream.forget_data();
        let (client, server) = match stream.connection.client_direction() {
            Some(Direction::Received) => (received, sent),
            _ => (sent, received),
        };
        let tls = stream.connection.version_and_cipher();
        Self { client, server, messages: None, tls }
    }
}
