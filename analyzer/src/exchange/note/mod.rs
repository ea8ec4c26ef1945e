//! Notes: unusual facts about an item or a capture, for people.
//!
//! Each note is a row of the table here: a variant and its text. `defect` and `fault` have the
//! texts that occur within notes. A test compares all texts with `tests/golden/notes.txt`.

mod defect;
mod fault;
mod names;
#[cfg(test)]
mod tests;
mod texts;

use std::fmt::{self, Debug, Formatter};

use sslrec_cli::size::Size;
use sslrec_formats::record::GapCause;

use self::names::{Cause, bytes_unit, connection_or_connections, fields_are, server_names};
use self::texts::texts;
use super::Sender;

pub use self::defect::{Defect, FrameDefect, Truncation, WebSocketDefect};
pub use self::fault::{Fault, MessageProblem, Problem};
pub use self::names::{End, Ended, ErrorCode, Part};

texts! {
    /// An unusual fact about an item or a capture.
    #[derive(Clone, PartialEq, Eq)]
    #[non_exhaustive]
    pub enum Note {
        // Connections.

        /// A TCP reset ended the connection.
        ConnectionReset => "connection reset";
        /// The connection was dropped to make room for others.
        NotFollowed => "not followed further: too many connections are open";
        /// A TCP retransmission had different bytes from the first transmission.
        RetransmissionDiffers => "a retransmission held other data; the first was kept";
        /// A TCP reset ended a direction.
        CutOffByReset(from: End) =>
            "cut off by a reset: the bytes from the {from} may not be complete";
        /// The beginning of the connection was not recorded.
        JoinedMidStream => "joined in mid-stream";
        /// The capture lacks packets, and the beginning of the connection among them.
        BeginningLost => "packets are missing, perhaps of its beginning too";
        /// Bytes of a connection that was joined in mid-stream come before the first message.
        SkippedBytes(bytes: u64) =>
            "joined in mid-stream: {bytes} bytes before it are not decoded";
        /// An earlier file has the beginning of the connection.
        BeginsInEarlierFile => "its beginning is in an earlier file";
        /// The recording ended before the connection did.
        StillOpen => "still open when the recording ended";
        /// The connection looked like HTTP/1 and had no complete head.
        NoHttp1Head => "HTTP/1 without a complete head";
        /// The connection looked like HTTP/2 and had no request.
        NoHttp2Request => "HTTP/2 without a request";
        /// A TLS handshake failed, with the result of a function in the library's own numbers.
        HandshakeReturned(func: Box<str>, result: i32) =>
            "the TLS handshake failed ({func} returned {result})";
        /// A TLS handshake failed, and the result of the function is unknown.
        HandshakeFailed => "the TLS handshake failed";

        // Missing bytes. The cause is left out if it is unknown.

        /// Bytes of the item are missing.
        Missing(bytes: u64, from: End, cause: GapCause) =>
            "{bytes} {unit} missing from the {from}{because}",
            unit = bytes_unit(*bytes), because = Cause(*cause);
        /// Bytes between the item and the one before it are missing.
        MissingBefore(bytes: u64, from: End, cause: GapCause) =>
            "{bytes} {unit} missing before it from the {from}{because}",
            unit = bytes_unit(*bytes), because = Cause(*cause);
        /// Bytes of an unknown HTTP/2 stream are missing.
        MissingMeanwhile(bytes: u64, from: End, cause: GapCause) =>
            "{bytes} {unit} missing while it was open, which may be of it from the {from}{because}",
            unit = bytes_unit(*bytes), because = Cause(*cause);

        // Messages.

        /// A head, a field or the trailers of a message are malformed.
        Defect(part: Part, defect: Defect) => "{part}: {defect}";
        /// A message was not read to its end.
        Truncated(part: Part, reason: Truncation) => "{part}: {reason}";
        /// A message before this one was not read to its end, and has no exchange.
        TruncatedBefore(reason: Truncation) => "{reason}";
        /// The header fields of a message are not kept: there was no memory for them.
        FieldsLeftOut(part: Part) => "{part}: header fields are left out (memory limit)";
        /// More interim responses than the maximum that is kept.
        InterimLeftOut(limit: usize) =>
            "more than {limit} interim responses; the rest was left out";
        /// The connection or the recording ended first.
        NoResponse(ended: Ended) => "no response before the {ended} ended";
        /// The exchange was listed before its end: there was no memory for more open exchanges.
        NotWaitedFor => "listed early (memory limit)";
        /// The content coding of a body was not undone, or not completely.
        Body(part: Part, problem: Problem) => "{part} body: {problem}";
        /// Only the beginning of a body is kept: there was no memory for more.
        BodyCut(part: Part, bytes: u64) =>
            "{part} body: only the first {bytes} bytes are kept (memory limit)";
        /// The same of a connection that is not HTTP.
        StreamCut(bytes: u64) => "only the first {bytes} bytes are kept (memory limit)";
        /// The budget for decoded output is spent.
        DecodingEnded(limit: u64) =>
            "not all is decoded: the limit of {size} is reached", size = Size(*limit);

        // HTTP/1.

        /// The response is missing, or is among those whose request is not known.
        ResponseLost => "response missing, or listed alone: its request is not certain";
        /// The request of this response is missing.
        RequestLost => "its request is missing";
        /// Messages are missing or unreadable, and several requests may be those of the response.
        RequestUnknown => "its request is not certain: messages before it are missing or unreadable";
        /// A response, and nothing was asked.
        NoRequest => "no request waits for it";
        /// The final response to an unknown request is missing.
        InterimOnly => "only interim responses were captured";
        /// A message was found by a search for the beginning of a message.
        MayBeContent => "may be the content of another message, whose beginning is missing";
        /// Too many requests wait for the response to this one.
        NotAnswered(requests: usize) =>
            "no response, and {requests} further requests were sent meanwhile";
        /// Bytes between two messages are not a message.
        SkippedBefore(bytes: u64) => "{bytes} bytes before it skipped: no message of HTTP/1";
        /// The bytes of this stream are not a message.
        NoMessage => "bytes after the last message that are no message of HTTP/1";
        /// A request and a response of HTTP/0.9 (RFC 1945 section 4.1).
        Http09 => "HTTP/0.9: a request line alone, and a response without a head";
        /// The server does not speak HTTP/2 (RFC 9113 section 3.3).
        AnsweredWithHttp1 => "the server answered the connection preface with HTTP/1";
        /// The connection became a tunnel.
        Tunnel => "tunnel";
        /// The connection changed to a protocol that is not supported.
        UpgradedTo(protocol: Box<str>) => "upgraded to {protocol}";
        /// The connection changed to HTTP/2.
        UpgradedToH2c => "sent as HTTP/1.1 and upgraded to h2c";
        /// The recording ended before the WebSocket did.
        WebSocketOpen => "the WebSocket was open when the recording ended";
        /// A TCP reset ended the WebSocket.
        WebSocketReset => "the connection was reset";

        // HTTP/2.

        /// A frame is malformed.
        Frame(defect: FrameDefect) => "{defect}";
        /// The request is in a part of the connection that was not recorded.
        RequestNotRecorded => "the request was not recorded";
        /// The head is in a part of the connection that was not recorded.
        HeadNotRecorded(part: Part) => "{part}: its head was not recorded";
        /// Contents precede the head.
        DataBeforeHead(part: Part) => "{part}: DATA before HEADERS";
        /// The connection or the recording ended within a message.
        EndedBeforeEnd(ended: Ended, part: Part) =>
            "the {ended} ended before the end of the {part}";
        /// The compression refers to fields that were not recorded.
        UnknownFields(part: Part, fields: u64) =>
            "{part}: {fields} header {are} <unknown>: the compression refers to unrecorded fields",
            are = fields_are(*fields);
        /// The encoder's table is larger than its peer allowed.
        TableTooLarge(part: Part) => "{part}: its sender's table is larger than was allowed";
        /// Pseudo-header fields are in the trailers.
        PseudoInTrailers(part: Part) => "{part}: pseudo-header fields in the trailers";
        /// The content has another length than announced (RFC 9113 section 8.1.1).
        LengthDiffers(part: Part, announced: u64, came: u64) =>
            "{part}: Content-Length is {announced}, and {came} bytes came";
        /// An interim response cannot be listed without its status.
        InterimWithoutStatus => "response: an interim response of unknown status is left out";
        /// The stream carries another protocol (RFC 8441).
        ExtendedConnect(protocol: Box<str>) => "extended CONNECT to {protocol}";
        /// The server promised the response with this stream.
        Pushed(stream: u32) => "pushed by the server with stream {stream}";
        /// An end reset the stream.
        ResetBy(end: End, code: ErrorCode) => "reset by the {end}: {code}";
        /// An end will not process the stream.
        NotProcessed(end: End, code: ErrorCode) => "not processed: GOAWAY of the {end}: {code}";
        /// An end reported an error of the connection.
        GoAway(end: End, code: ErrorCode) => "GOAWAY of the {end}: {code}";
        /// More streams than the maximum were open.
        TooManyStreams(limit: usize) => "listed early: more than {limit} streams were open";
        /// No frame so far determines the client.
        ClientUnknown => "header fields arrived before the client was known";
        /// Bytes between two frames are not a frame.
        SkippedFrames(bytes: u64, from: End) =>
            "{bytes} bytes from the {from} before it skipped: no frame of HTTP/2";
        /// Frames of unknown exchanges are missing.
        FramesMissing => "HTTP/2 frames are missing; the exchange they belong to is unknown";

        // Protocols on top of HTTP.

        /// Messages are not kept: there was no memory for them.
        MessagesLeftOut => "not all messages are kept (memory limit)";
        /// Data of server-sent events is not kept: there was no memory for it.
        EventsCut => "not all event data is kept (memory limit)";
        /// More messages than the maximum that is kept.
        TooManyMessages(limit: usize) =>
            "more than {limit} messages; further ones are only counted";
        /// The messages of an end have a content coding that cannot be undone.
        MessagesNotRead(from: Sender, fault: Fault) =>
            "the {from}'s messages are not read: {fault}";
        /// The content coding of messages broke off.
        MessagesBrokeOff(from: Sender, fault: Fault) => "{from}: {fault}";
        /// Bytes of messages with a content coding are missing, which makes the following bytes
        /// unreadable.
        CodedMessagesLost(from: Sender) =>
            "{from}: after missing bytes the content coding is not undone, and the messages are not read";
        /// The body of gRPC-Web as text is not valid base64.
        GrpcNotBase64(from: Sender) => "{from}: gRPC-Web as text that is not base64";
        /// A gRPC message has flags of unknown meaning.
        GrpcFlags(from: Sender) => "{from}: unknown flags before a gRPC message";
        /// Bytes of gRPC messages are missing, and the end of the gap is inside of a message.
        GrpcLost(from: Sender) => "{from}: gRPC messages after missing bytes are not read";
        /// A gRPC message is truncated or was not decompressed.
        GrpcPartial(from: Sender) =>
            "{from}: not every gRPC message is complete and decompressed";
        /// The last gRPC message is truncated.
        GrpcTruncated(from: Sender) => "{from}: the last gRPC message is not complete";
        /// `grpc-status` is not a number.
        GrpcStatus => "grpc-status is not a number";
        /// Bytes of server-sent events are missing.
        EventsLost => "after missing bytes, events are left out up to the next empty line";
        /// A WebSocket uses an extension that is not read.
        WebSocketExtension => "an extension other than permessage-deflate is in use";
        /// A WebSocket frame has an impossible length.
        WebSocketFrameLength(from: Sender) =>
            "{from}: a frame has an impossible length; nothing after it is read";
        /// Bytes of a WebSocket are missing, and the next frame was not found.
        WebSocketLost(from: Sender) =>
            "{from}: after missing bytes no frame was found again; further messages are not read";
        /// Bytes of a WebSocket are missing, and the next frame was found.
        WebSocketResumed(from: Sender) =>
            "{from}: after missing bytes, messages are read from a segment that begins with a frame";
        /// The place of the first frame of a WebSocket is not known.
        WebSocketNotFound(from: Sender) =>
            "{from}: the place of the first frame is not known; messages are not read";
        /// The same, and a frame was found.
        WebSocketFound(from: Sender) =>
            "{from}: messages are read from the first segment that certainly begins with a frame";
        /// A close frame has a single byte.
        WebSocketCloseLength(from: Sender) => "{from}: a close frame of one byte";
        /// The reason of a close frame is not UTF-8.
        WebSocketReason(from: Sender) => "{from}: the reason of a close frame is not UTF-8";
        /// A WebSocket message is truncated or was not decompressed.
        WebSocketPartial(from: Sender) =>
            "{from}: not every message is complete and decompressed";
        /// A text message is not UTF-8.
        WebSocketText(from: Sender) => "{from}: a text message is not UTF-8";
        /// The last WebSocket message is truncated.
        WebSocketTruncated(from: Sender) => "{from}: the last message is not complete";
        /// A WebSocket frame violates RFC 6455.
        WebSocketFrame(from: Sender, defect: WebSocketDefect) => "{from}: {defect}";

        // Captures.

        /// A note about a file, if several are read.
        OfFile(name: Box<str>, note: Box<Note>) => "{name}: {note}";
        /// Items are listed after an item that began later.
        ListedLate(items: u64) => "{items} items are listed after an item that began later";
        /// The order of the listing is not that of time; more than this many bytes were waiting.
        NotInOrder(limit: u64) =>
            "not all items are in the order of time: more than {size} waited for unfinished items",
            size = Size(*limit);
        /// Records belong to connections that the capture does not describe.
        NotDescribed(records: u64) =>
            "{records} records belong to connections that are not described";
        /// Connections were given up to make room for others.
        GivenUp(connections: u64) =>
            "{connections} open connections are not followed further (memory limit)";
        /// Names of processes were not kept.
        Unnamed(processes: u64) =>
            "the names of {processes} processes were not kept (memory limit)";
        /// Secrets were blanked by these rules.
        Redacted(rules: Vec<String>) =>
            "secrets were blanked by these rules: {names}", names = rules.join(", ");
        /// All of the capture is TLS, to servers of these names.
        Encrypted(connections: u64, names: Vec<String>) =>
            "TLS records on {connections} {noun}{names}; this file holds no plaintext: record the \
             program with sslrec, or decrypt in Wireshark with its key log (SSLKEYLOGFILE)",
            noun = connection_or_connections(*connections), names = server_names(names);
        /// The same; the capture has keys.
        EncryptedWithKeys(connections: u64, names: Vec<String>) =>
            "TLS records on {connections} {noun}{names}; this file holds no plaintext, but TLS keys: \
             Wireshark can decrypt it, and `tshark -r IN -U 'OSI layer 7' -w OUT` exports it",
            noun = connection_or_connections(*connections), names = server_names(names);
        /// A part of the capture is TLS.
        PartlyEncrypted(connections: u64, names: Vec<String>) =>
            "TLS records on {connections} {noun}{names}, which are not decrypted",
            noun = connection_or_connections(*connections), names = server_names(names);
        /// The same; the capture has keys.
        PartlyEncryptedWithKeys(connections: u64, names: Vec<String>) =>
            "TLS records on {connections} {noun}{names}, which are not decrypted; the file has TLS \
             keys: Wireshark can decrypt it, and `tshark -r IN -U 'OSI layer 7' -w OUT` exports it",
            noun = connection_or_connections(*connections), names = server_names(names);
        /// IP fragments whose packets are not complete.
        IpFragments(fragments: u64) =>
            "{fragments} IP fragments belong to packets that are not complete; their bytes are missing";
        /// IP packets of which fragments overlap with different contents.
        FragmentsDiffer(packets: u64) =>
            "{packets} IP packets have fragments that contradict each other; they are left out";
        /// IP fragments that were given up to make room for others.
        FragmentsGivenUp(fragments: u64) =>
            "{fragments} IP fragments were given up (memory limit); their bytes are missing";
        /// Packets of more layers than the maximum.
        TooManyLayers(packets: u64) =>
            "{packets} packets have too many layers of encapsulation, and are not read";
        /// Packets of a pcapng whose interface is not described.
        UnknownInterface(packets: u64) =>
            "{packets} packets are of interfaces that the capture does not describe, and are not read";
        /// Options of a pcapng that are damaged.
        OptionsSkipped(options: u64) =>
            "{options} options of the pcapng have a wrong length, and are skipped";
        /// Texts of a pcapng in another character set.
        TextsNotUtf8(texts: u64) => "{texts} texts of the pcapng are not UTF-8, and are skipped";
        /// Packets without a complete header.
        TruncatedPackets(packets: u64) =>
            "{packets} packets were truncated within their headers; see the capture's snaplen";
        /// Packets of a capture without TCP.
        NoTcp(packets: u64) => "{packets} packets, none of which is TCP";
        /// Packets of a link type that is not supported.
        LinkType(packets: u64, link: u32) =>
            "{packets} packets of link type {link}, which is not supported";
        /// Packets of further link types that are not supported.
        FurtherLinkTypes(packets: u64) =>
            "{packets} packets of further link types, which are not supported";

        // HAR.

        /// The browser received no response, or not all of it.
        BrowserError(error: Box<str>) => "error of the browser: {error}";
        /// The response is from a cache of the browser.
        FromCache(cache: Box<str>) => "from the browser's cache ({cache})";
        /// A note of the program that wrote the HAR.
        Quoted(note: Box<str>) => "{note}";
        /// Entries with a URL of another scheme.
        OtherEntries(entries: u64) =>
            "{entries} entries of the HAR are not HTTP (such as data: URLs), and are not listed";

        // Statistics.

        /// Streams that are in no group.
        StreamsNotCounted(streams: u64) => "{streams} streams are not HTTP and not counted";
        /// The failed ones of all TLS handshakes.
        HandshakesFailed(failed: u64, all: u64) => "{failed} of {all} TLS handshakes failed";
        /// Exchanges of more groups than the maximum.
        GroupedTogether(exchanges: u64, limit: usize) =>
            "{exchanges} exchanges of more than {limit} groups are counted together; see --max-groups";
    }
}

/// Formats the text in quotes.
impl Debug for Note {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Debug::fmt(&self.to_string(), f)
    }
}
