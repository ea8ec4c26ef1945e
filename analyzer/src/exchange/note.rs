//! Notes: unusual facts about an item or a capture, for people.
//!
//! Each note is a variant, and its text is its `Display`. A test compares the texts of all of them
//! with `tests/golden/notes.txt`.

use std::borrow::Cow;
use std::fmt::{self, Debug, Display, Formatter};

use sslrec_cli::size::Size;
use sslrec_formats::record::GapCause;

use super::Sender;

/// An unusual fact about an item or a capture.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// A TCP reset ended the connection.
    ConnectionReset,
    /// The connection was dropped to make room for others.
    NotFollowed,
    /// A TCP retransmission had different bytes from the first transmission.
    RetransmissionDiffers,
    /// The beginning of the connection was not recorded.
    JoinedMidStream,
    /// Bytes of a connection that was joined in mid-stream come before the first message.
    SkippedBytes(u64),
    /// An earlier file has the beginning of the connection.
    BeginsInEarlierFile,
    /// The recording ended before the connection did.
    StillOpen,
    /// The connection looked like HTTP/1 and had no complete head.
    NoHttp1Head,
    /// The connection looked like HTTP/2 and had no request.
    NoHttp2Request,
    /// A TLS handshake failed.
    HandshakeFailed {
        /// Function that returned the result.
        func: Box<str>,
        /// Result, in the library's own numbers.
        result: Option<i32>,
    },
    /// Bytes are missing.
    Missing {
        /// Number of bytes.
        bytes: u64,
        /// `missing`, or a description of the place.
        place: &'static str,
        /// The end that sent them.
        from: End,
        /// The cause; [`GapCause::Unknown`] if it was not recorded.
        cause: GapCause,
    },
    /// The content coding of a body was not undone, or not completely.
    Body {
        /// `request` or `response`.
        message: &'static str,
        /// Description of the problem.
        problem: String,
    },
    /// Only the beginning of a body is kept: there was no memory for more.
    BodyCut {
        /// `request` or `response`.
        message: &'static str,
        /// How many bytes are kept.
        bytes: u64,
    },
    /// The same of a connection that is not HTTP.
    StreamCut(u64),
    /// The header fields of a message are not kept: there was no memory for them.
    FieldsLeftOut(&'static str),
    /// The exchange was listed before its end: there was no memory for more open exchanges.
    NotWaitedFor,
    /// The budget for decoded output is spent.
    DecodingEnded(u64),
    /// Messages are not kept: there was no memory for them.
    MessagesLeftOut,
    /// Data of server-sent events is not kept: there was no memory for it.
    EventsCut,
    /// More messages than the maximum that is kept.
    TooManyMessages(usize),
    /// The messages of an end have a content coding that cannot be undone.
    MessagesNotRead {
        /// The end that sent them.
        from: Sender,
        /// Description of the problem.
        problem: String,
    },
    /// The content coding of messages broke off.
    MessagesBrokeOff {
        /// The end that sent them.
        from: Sender,
        /// Description of the problem.
        problem: String,
    },
    /// Bytes of messages with a content coding are missing, which makes the following bytes
    /// unreadable.
    CodedMessagesLost(Sender),
    /// The body of gRPC-Web as text is not valid base64.
    GrpcNotBase64(Sender),
    /// A gRPC message has flags of unknown meaning.
    GrpcFlags(Sender),
    /// Bytes of gRPC messages are missing, and the end of the gap is inside of a message.
    GrpcLost(Sender),
    /// A gRPC message is truncated or was not decompressed.
    GrpcPartial(Sender),
    /// The last gRPC message is truncated.
    GrpcTruncated(Sender),
    /// `grpc-status` is not a number.
    GrpcStatus,
    /// Bytes of server-sent events are missing.
    EventsLost,
    /// A WebSocket uses an extension that is not read.
    WebSocketExtension,
    /// A WebSocket frame has an impossible length.
    WebSocketFrameLength(Sender),
    /// Bytes of a WebSocket are missing, and the next frame cannot be found.
    WebSocketLost(Sender),
    /// A close frame has a single byte.
    WebSocketCloseLength(Sender),
    /// The reason of a close frame is not UTF-8.
    WebSocketReason(Sender),
    /// A WebSocket message is truncated or was not decompressed.
    WebSocketPartial(Sender),
    /// A text message is not UTF-8.
    WebSocketText(Sender),
    /// The last WebSocket message is truncated.
    WebSocketTruncated(Sender),
    /// A WebSocket frame violates RFC 6455.
    WebSocketFrame {
        /// The end that sent it.
        from: Sender,
        /// Description of the violation.
        anomaly: &'static str,
    },
    /// Items are listed after an item that began later.
    ListedLate(u64),
    /// The order of the listing is not that of time; more than this many bytes were waiting.
    NotInOrder(u64),
    /// Records belong to connections that the capture does not describe.
    NotDescribed(u64),
    /// Connections were given up to make room for others.
    GivenUp(u64),
    /// Secrets were blanked by these rules.
    Redacted(Vec<String>),
    /// IP fragments, which are not reassembled.
    IpFragments(u64),
    /// Packets without a complete header.
    TruncatedPackets(u64),
    /// Packets of a capture without TCP.
    NoTcp(u64),
    /// Packets of a link type that is not supported.
    LinkType {
        /// Number of packets.
        packets: u64,
        /// The link type.
        link: u32,
    },
    /// Packets of further link types that are not supported.
    FurtherLinkTypes(u64),
    /// Text of a parser or a caller that has no variant.
    Text(Cow<'static, str>),
}

/// The end of a connection that sent bytes, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client.
    Client,
    /// The server.
    Server,
    /// The recorded process; the client is unknown.
    Local,
    /// The peer of the recorded process.
    Remote,
}

impl Display for End {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            End::Client => "client",
            End::Server => "server",
            End::Local => "local end",
            End::Remote => "remote end",
        })
    }
}

impl Display for Note {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Note::Text(text) => f.write_str(text),
            Note::Missing { .. } => self.fmt_missing(f),
            Note::ConnectionReset
            | Note::NotFollowed
            | Note::RetransmissionDiffers
            | Note::JoinedMidStream
            | Note::SkippedBytes(_)
            | Note::BeginsInEarlierFile
            | Note::StillOpen
            | Note::NoHttp1Head
            | Note::NoHttp2Request
            | Note::HandshakeFailed { .. } => self.fmt_of_connection(f),
            Note::ListedLate(_)
            | Note::NotInOrder(_)
            | Note::NotDescribed(_)
            | Note::GivenUp(_)
            | Note::Redacted(_)
            | Note::IpFragments(_)
            | Note::TruncatedPackets(_)
            | Note::NoTcp(_)
            | Note::LinkType { .. }
            | Note::FurtherLinkTypes(_) => self.fmt_of_capture(f),
            _ => self.fmt_of_contents(f),
        }
    }
}

impl Note {
    fn fmt_missing(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Note::Missing { bytes, place, from, cause } = self else { return Ok(()) };
        let unit = if *bytes == 1 { "byte" } else { "bytes" };
        write!(f, "{bytes} {unit} {place} from the {from}")?;
        match cause {
            GapCause::Unknown => Ok(()),
            cause => write!(f, ": {cause}"),
        }
    }

    fn fmt_of_connection(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Note::ConnectionReset => "connection reset",
            Note::NotFollowed => "not followed further: too many connections are open",
            Note::RetransmissionDiffers => "a retransmission held other data; the first was kept",
            Note::JoinedMidStream => "joined in mid-stream",
            Note::BeginsInEarlierFile => "its beginning is in an earlier file",
            Note::StillOpen => "still open when the recording ended",
            Note::NoHttp1Head => "HTTP/1 without a complete head",
            Note::NoHttp2Request => "HTTP/2 without a request",
            Note::SkippedBytes(bytes) => {
                return write!(f, "joined in mid-stream: {bytes} bytes before it are not decoded");
            }
            Note::HandshakeFailed { func, result: Some(result) } => {
                return write!(f, "the TLS handshake failed ({func} returned {result})");
            }
            _ => "the TLS handshake failed",
        })
    }

    fn fmt_of_contents(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (from, text) = match self {
            Note::Body { message, problem } => return write!(f, "{message} body: {problem}"),
            Note::TooManyMessages(limit) => {
                return write!(f, "more than {limit} messages; further ones are only counted");
            }
            Note::BodyCut { message, bytes } => {
                return write!(
                    f,
                    "{message} body: only the first {bytes} bytes are kept (memory limit)"
                );
            }
            Note::StreamCut(bytes) => {
                return write!(f, "only the first {bytes} bytes are kept (memory limit)");
            }
            Note::FieldsLeftOut(message) => {
                return write!(f, "{message}: header fields are left out (memory limit)");
            }
            Note::NotWaitedFor => {
                return f.write_str("listed early (memory limit)");
            }
            Note::DecodingEnded(limit) => {
                return write!(f, "not all is decoded: the limit of {} is reached", Size(*limit));
            }
            Note::MessagesLeftOut => {
                return f.write_str("not all messages are kept (memory limit)");
            }
            Note::EventsCut => return f.write_str("not all event data is kept (memory limit)"),
            Note::MessagesNotRead { from, problem } => {
                return write!(f, "the {from}'s messages are not read: {problem}");
            }
            Note::MessagesBrokeOff { from, problem } => return write!(f, "{from}: {problem}"),
            Note::GrpcStatus => return f.write_str("grpc-status is not a number"),
            Note::EventsLost => {
                return f.write_str(
                    "after missing bytes, events are left out up to the next empty line",
                );
            }
            Note::WebSocketExtension => {
                return f.write_str("an extension other than permessage-deflate is in use");
            }
            Note::WebSocketFrame { from, anomaly } => (from, *anomaly),
            Note::CodedMessagesLost(from) => (
                from,
                "after missing bytes the content coding is not undone, and the messages are not read",
            ),
            Note::GrpcNotBase64(from) => (from, "gRPC-Web as text that is not base64"),
            Note::GrpcFlags(from) => (from, "unknown flags before a gRPC message"),
            Note::GrpcLost(from) => (from, "gRPC messages after missing bytes are not read"),
            Note::GrpcPartial(from) => {
                (from, "not every gRPC message is complete and decompressed")
            }
            Note::GrpcTruncated(from) => (from, "the last gRPC message is not complete"),
            Note::WebSocketFrameLength(from) => {
                (from, "a frame has an impossible length; nothing after it is read")
            }
            Note::WebSocketLost(from) => (
                from,
                "after missing bytes no frame can be found again; further messages are not read",
            ),
            Note::WebSocketCloseLength(from) => (from, "a close frame of one byte"),
            Note::WebSocketReason(from) => (from, "the reason of a close frame is not UTF-8"),
            Note::WebSocketPartial(from) => {
                (from, "not every message is complete and decompressed")
            }
            Note::WebSocketText(from) => (from, "a text message is not UTF-8"),
            Note::WebSocketTruncated(from) => (from, "the last message is not complete"),
            // The other variants have their own text, see `Display`.
            _ => return Ok(()),
        };
        write!(f, "{from}: {text}")
    }

    fn fmt_of_capture(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Note::ListedLate(items) => {
                write!(f, "{items} items are listed after an item that began later")
            }
            Note::NotInOrder(limit) => write!(
                f,
                "not all items are in the order of time: more than {} waited for unfinished items",
                Size(*limit)
            ),
            Note::NotDescribed(records) => {
                write!(f, "{records} records belong to connections that are not described")
            }
            Note::GivenUp(connections) => {
                write!(f, "{connections} open connections are not followed further (memory limit)")
            }
            Note::Redacted(rules) => {
                write!(f, "secrets were blanked by these rules: {}", rules.join(", "))
            }
            Note::IpFragments(packets) => write!(
                f,
                "{packets} IP fragments of TCP segments are not reassembled; their bytes are missing"
            ),
            Note::TruncatedPackets(packets) => write!(
                f,
                "{packets} packets were truncated within their headers; see the capture's snaplen"
            ),
            Note::NoTcp(packets) => write!(f, "{packets} packets, none of which is TCP"),
            Note::LinkType { packets, link } => {
                write!(f, "{packets} packets of link type {link}, which is not supported")
            }
            Note::FurtherLinkTypes(packets) => {
                write!(f, "{packets} packets of further link types, which are not supported")
            }
            _ => Ok(()),
        }
    }
}

/// Formats the text in quotes.
impl Debug for Note {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Debug::fmt(&self.to_string(), f)
    }
}

impl PartialEq<str> for Note {
    fn eq(&self, text: &str) -> bool {
        let shown = self.to_string();
        shown == text
    }
}

impl PartialEq<&str> for Note {
    fn eq(&self, text: &&str) -> bool {
        self == *text
    }
}

impl PartialEq<String> for Note {
    fn eq(&self, text: &String) -> bool {
        self == text.as_str()
    }
}

impl From<&'static str> for Note {
    fn from(text: &'static str) -> Self {
        Note::Text(text.into())
    }
}

impl From<String> for Note {
    fn from(text: String) -> Self {
        Note::Text(text.into())
    }
}

impl From<Cow<'static, str>> for Note {
    fn from(text: Cow<'static, str>) -> Self {
        Note::Text(text)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sslrec_analyzer_testing::golden;

    use super::*;

    /// A note of each variant.
    fn all() -> Vec<Note> {
        let problem = || "gzip breaks off after 5 decoded bytes".to_owned();
        let (client, server) = (Sender::Client, Sender::Server);
        vec![
            Note::ConnectionReset,
            Note::NotFollowed,
            Note::RetransmissionDiffers,
            Note::JoinedMidStream,
            Note::SkippedBytes(7),
            Note::BeginsInEarlierFile,
            Note::StillOpen,
            Note::NoHttp1Head,
            Note::NoHttp2Request,
            Note::HandshakeFailed { func: "SSL_connect".into(), result: Some(-1) },
            Note::HandshakeFailed { func: "SSL_connect".into(), result: None },
            Note::Missing {
                bytes: 1,
                place: "missing",
                from: End::Client,
                cause: GapCause::RingFull,
            },
            Note::Missing {
                bytes: 20,
                place: "missing",
                from: End::Remote,
                cause: GapCause::Unknown,
            },
            Note::Body { message: "response", problem: problem() },
            Note::BodyCut { message: "response", bytes: 5 },
            Note::StreamCut(6),
            Note::FieldsLeftOut("request"),
            Note::NotWaitedFor,
            Note::DecodingEnded(4 << 30),
            Note::MessagesLeftOut,
            Note::EventsCut,
            Note::TooManyMessages(1 << 20),
            Note::MessagesNotRead { from: client, problem: problem() },
            Note::MessagesBrokeOff { from: server, problem: problem() },
            Note::CodedMessagesLost(client),
            Note::GrpcNotBase64(client),
            Note::GrpcFlags(server),
            Note::GrpcLost(client),
            Note::GrpcPartial(server),
            Note::GrpcTruncated(client),
            Note::GrpcStatus,
            Note::EventsLost,
            Note::WebSocketExtension,
            Note::WebSocketFrameLength(client),
            Note::WebSocketLost(server),
            Note::WebSocketCloseLength(client),
            Note::WebSocketReason(server),
            Note::WebSocketPartial(client),
            Note::WebSocketText(server),
            Note::WebSocketTruncated(client),
            Note::WebSocketFrame { from: server, anomaly: "a frame after the close frame" },
            Note::ListedLate(3),
            Note::NotInOrder(48 << 20),
            Note::NotDescribed(2),
            Note::GivenUp(3),
            Note::Redacted(vec!["default".into(), "json:password".into()]),
            Note::IpFragments(2),
            Note::TruncatedPackets(3),
            Note::NoTcp(4),
            Note::LinkType { packets: 5, link: 147 },
            Note::FurtherLinkTypes(6),
            Note::Text("a text".into()),
        ]
    }

    #[test]
    fn every_note_has_the_text_of_the_golden_file() {
        let texts: Vec<_> = all().iter().map(|note| format!("{note}\n")).collect();
        for text in &texts {
            assert!(text.len() > 1 && texts.iter().filter(|other| *other == text).count() == 1);
        }
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/notes.txt");
        golden::check(&file, &texts.concat());
    }
}
