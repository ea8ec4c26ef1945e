//! Defects of messages and frames, and the reasons why a message was not read to its end.

use sslrec_wire::http1::message::{MAX_FIELDS, Why};
use sslrec_wire::http1::{Contradiction, Flaw};
use sslrec_wire::http2::{frame, hpack};

use super::texts::texts;

texts! {
    /// A defect of a head, a field or the trailers of a message, which is shown nevertheless.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[non_exhaustive]
    pub enum Defect {
        /// HTTP/1: the target contains octets that a target cannot contain.
        RequestTarget => "whitespace or control character in the request target";
        /// HTTP/1: the first line is not a well-formed request line.
        RequestLine(flaw: Flaw) => "{flaw}";
        /// HTTP/1: a status line of another version, such as `HTTP/2.0`, or of none, `ICY`.
        StatusVersion => "status line with a version other than HTTP/1.x";
        /// HTTP/1: fields beyond the maximum are not kept.
        TooManyFields => "more than {max} header fields; the rest was left out", max = MAX_FIELDS;
        /// HTTP/1: a field continues on the next line (RFC 9112 section 5.2).
        Folded => "folded header field";
        /// HTTP/1: a smuggling attempt (RFC 9112 section 2.2).
        LeadingWhitespace => "whitespace before the first header field";
        /// HTTP/1: a line is not a field.
        NoColon => "header line without a colon";
        /// HTTP/1: a smuggling attempt (RFC 9112 section 5.1).
        WhitespaceBeforeColon => "whitespace between header name and colon";
        /// HTTP/1: a name is not a token.
        NameCharacter => "invalid character in a header name";
        /// HTTP/1: a value contains NUL or CR.
        ValueCharacter => "control character in a header value";
        /// HTTP/1: a request has one Host field, and a server rejects others (RFC 9112 section
        /// 3.2).
        RepeatedHost => "more than one Host field; the first was used";
        /// HTTP/1: contradictions about the length of the content.
        Framing(contradiction: Contradiction) => "{contradiction}";
        /// HTTP/2: pseudo-header fields come first (RFC 9113 section 8.3).
        LatePseudo => "pseudo-header field after other fields";
        /// HTTP/2: not a status of three digits.
        InvalidStatus => "invalid :status";
        /// HTTP/2: a pseudo-header field that no RFC defines.
        UnknownPseudo => "unknown pseudo-header field";
        /// HTTP/2: a pseudo-header field occurs twice.
        RepeatedPseudo => "repeated pseudo-header field; the first was used";
        /// HTTP/2: an empty name.
        NoName => "header field without a name";
        /// HTTP/2: a field of HTTP/1 connections (RFC 9113 section 8.2.2).
        ConnectionField => "connection-specific header field";
        /// HTTP/2: names are in lower case (RFC 9113 section 8.2.1).
        UpperCase => "upper case in a header name";
        /// HTTP/2: a defect of the compression.
        Compression(defect: hpack::Defect) => "{defect}";
    }
}

texts! {
    /// The reason why a message, or its head, was not read to its end.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[non_exhaustive]
    pub enum Truncation {
        /// HTTP/1: bytes of the head are missing.
        GapInHead => "head cut by a gap";
        /// HTTP/1: bytes of a chunked body are missing, and maybe the size of a chunk.
        GapInChunks => "chunked body cut by a gap; its end was not found";
        /// HTTP/1: only a regular close ends such a body (RFC 9112 section 8).
        BodyReset => "body lasts until the connection closes, and it was reset instead";
        /// HTTP/1: the recording ended before such a body.
        BodyOpen => "body lasts until the connection closes, which was not recorded";
        /// HTTP/1: the connection ended within the head.
        Head => "head is not complete";
        /// HTTP/1: the connection ended within the body.
        Body => "body is not complete";
        /// HTTP/1: the framing was lost.
        Framing(why: Why) => "{why}";
        /// HTTP/2: the end of the field block was not seen.
        FieldBlock => "the field block is not complete";
        /// HTTP/2: bytes of the field block are missing.
        GapInFieldBlock => "bytes of the field block are missing";
        /// HTTP/2: the padding of HEADERS or PUSH_PROMISE is longer than the frame.
        Padding => "invalid padding";
        /// HTTP/2: a field block exceeds the bound.
        LongFieldBlock => "the field block is longer than 1 MiB";
        /// HTTP/2: a frame exceeds the bound.
        LongFrame => "its frame is longer than 1 MiB";
        /// HTTP/2: bytes of a frame are missing.
        GapInFrame => "bytes of it are missing";
        /// HTTP/2: the connection ended within a frame.
        Frame => "its frame is not complete";
        /// HTTP/2: the compression cannot be undone.
        Compression(error: hpack::Error) => "{error}";
    }
}

impl Truncation {
    /// Returns whether the end of an HTTP/1 message is unknown, so that further messages may follow
    /// before the next that is found.
    pub(crate) fn loses_framing(&self) -> bool {
        matches!(self, Self::GapInHead | Self::GapInChunks | Self::Framing(_))
    }
}

texts! {
    /// A defect of an HTTP/2 frame that an endpoint would reject.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[non_exhaustive]
    pub enum FrameDefect {
        /// A length or a stream that a frame of this type cannot have.
        Header(defect: frame::Defect) => "{defect}";
        /// The padding of DATA is longer than the frame.
        Padding => "DATA with more padding than fits in";
        /// The HEADERS before a CONTINUATION were not seen.
        UnseenBlock => "CONTINUATION of a field block that was not seen";
        /// A CONTINUATION has another stream than its HEADERS.
        OtherStream => "CONTINUATION on another stream than its HEADERS";
        /// A frame comes before the end of a field block (RFC 9113 section 6.10).
        Interruption => "frame between the parts of a field block";
        /// The stream that PUSH_PROMISE announces is unknown.
        PushPromise => "PUSH_PROMISE that could not be read";
        /// The code of RST_STREAM is unknown.
        RstStream => "RST_STREAM that could not be read";
    }
}

texts! {
    /// A defect of a WebSocket frame that an endpoint would reject (RFC 6455 section 5).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[non_exhaustive]
    pub enum WebSocketDefect {
        /// A client masks its frames.
        NoMask => "a frame without a mask";
        /// A server does not mask its frames.
        Mask => "a frame with a mask";
        /// The opcode has no meaning.
        Opcode => "a frame of a reserved opcode";
        /// The bit belongs to an extension that was not agreed on.
        ReservedBit => "a reserved bit that nothing gave a meaning";
        /// Only the first frame of a message marks compression.
        Compression => "compression marked where it cannot be";
        /// A control frame has no continuation.
        ControlFragment => "a control frame in fragments";
        /// A control frame exceeds its maximum.
        LongControl => "a control frame of more than 125 bytes";
        /// The length is not in its shortest form.
        LengthForm => "a length in more bytes than it needs";
        /// No message began before a continuation.
        Continuation => "a continuation of no message";
        /// A message begins before the last one ended.
        Nested => "a message begins inside of another";
        /// The close frame is the last frame.
        AfterClose => "a frame after the close frame";
    }
}
