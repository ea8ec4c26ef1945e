//! HTTP/0.9 (RFC 1945 sections 4.1 and 5.1): a request line without a version, and a response
//! without a head that lasts until the connection closes.

use sslrec_formats::record::Direction;
use sslrec_wire::http1::Malformed;

use super::{Beginning, Connection};
use crate::exchange::{Exchange, Item, Message, Note, Request, Response, Stream};
use crate::timeline::Timeline;

/// Returns whether all bytes of a direction are a request of HTTP/0.9. An empty line may follow.
pub(super) fn is_request(bytes: &[u8]) -> bool {
    line(bytes).is_some_and(|line| Malformed::read(line).is_simple())
}

fn line(bytes: &[u8]) -> Option<&[u8]> {
    let text = bytes.strip_suffix(b"\n")?;
    let text = text.strip_suffix(b"\n\r").or(text.strip_suffix(b"\n")).unwrap_or(text);
    let line = text.strip_suffix(b"\r").unwrap_or(text);
    (!line.contains(&b'\n')).then_some(line)
}

impl Connection {
    /// Lists the connection as an exchange of HTTP/0.9. Returns whether it is one: the client sent
    /// a request and nothing else, the server sent bytes, and none are missing.
    pub(super) fn list_as_simple(&mut self, timeline: &mut Timeline) -> bool {
        let directions = [Direction::Sent, Direction::Received];
        let known = self.shared.info().client_direction();
        let is_client = |direction: &Direction| {
            known.is_none_or(|known| known == *direction)
                && is_request(&self.halves[*direction].held)
                && self.raw.halves[*direction].bytes == self.halves[*direction].held.len() as u64
                && self.raw.halves[direction.reverse()].bytes > 0
        };
        let Some(client) = directions.into_iter().find(is_client) else { return false };
        if !self.raw.losses.is_empty() || self.beginning != Beginning::Here {
            return false;
        }
        let times = [client, client.reverse()].map(|direction| self.halves[direction].chunk);
        let held = std::mem::take(&mut self.halves[client].held);
        let malformed = Malformed::read(line(&held).unwrap_or_default());
        let message = |at: usize, last_ns: u64| {
            let first_ns = times[at].map_or(self.raw.first_ns, |chunk| chunk.first_ns);
            Message { first_ns, last_ns: last_ns.max(first_ns), ..Message::default() }
        };
        let mut exchange = Exchange::new(&self.shared, client, 1);
        exchange.proto = "http/0.9";
        exchange.request = Some(Request {
            method: malformed.method.map(Request::method_of),
            target: malformed.target.map(<[u8]>::to_vec),
            line: line(&held).map(<[u8]>::to_vec),
            message: message(0, times[0].map_or(0, |chunk| chunk.last_ns)),
            ..Request::default()
        });
        let mut response = message(1, self.raw.last_ns);
        let raw = std::mem::replace(&mut *self.raw, Stream::new(&self.shared, 0, false));
        response.body = raw.into_body(client.reverse());
        exchange.response = Some(Response { message: response, ..Response::default() });
        exchange.note(Note::Http09);
        self.notes.drain(..).for_each(|note| exchange.note(note));
        exchange.complete = true;
        exchange.note_cuts();
        let ticket = self.ticket.take().unwrap_or_else(|| timeline.open(exchange.first_ns()));
        timeline.close(ticket, Item::Exchange(Box::new(exchange)));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::is_request;

    #[test]
    fn a_line_without_a_version_is_a_request() {
        for bytes in ["GET /old\r\n", "GET /old\n", "GET /old\r\n\r\n", "GET http://h/old\n\n"] {
            assert!(is_request(bytes.as_bytes()), "{bytes:?}");
        }
        for bytes in [
            "GET /old",
            "GET key\r\n",
            "GET /old HTTP/1.0\r\n",
            "GET /old\r\nHost: h\r\n",
            "GET /old\r\n\r\n\r\n",
            "POST /old\r\n",
            "GET /a b\r\n",
            "\r\n",
            "",
        ] {
            assert!(!is_request(bytes.as_bytes()), "{bytes:?}");
        }
    }
}
