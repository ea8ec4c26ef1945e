use std::path::Path;

use sslrec_analyzer_testing::golden;
use sslrec_wire::http1::message::Why;
use sslrec_wire::http1::{Contradiction, Flaw};
use sslrec_wire::http2::{frame, hpack};

use super::*;

/// A value for the examples of notes.
pub(super) trait Example {
    fn example() -> Self;
}

/// Implements [`Example`] with a constant expression for each type.
macro_rules! examples {
    ($($type:ty = $value:expr;)+) => {
        $(impl Example for $type {
            fn example() -> Self {
                $value
            }
        })+
    };
}

examples! {
    u32 = 3;
    i32 = -1;
    u64 = 7000;
    usize = 1000;
    &'static str = "...";
    Box<str> = "...".into();
    Vec<String> = vec!["default".into(), "json:password".into()];
    Box<Note> = Box::new(Note::JoinedMidStream);
    GapCause = GapCause::RingFull;
    Sender = Sender::Client;
    End = End::Server;
    Part = Part::Request;
    Ended = Ended::Connection;
    ErrorCode = ErrorCode(8);
    Contradiction = Contradiction::RepeatedLength;
    Flaw = Flaw::NoTarget;
    Why = Why::BadChunkSize;
    frame::Defect = frame::Defect::PingLength;
    hpack::Defect = hpack::Defect::LateTableSize;
    hpack::Error = hpack::Error::Truncated;
    Defect = Defect::Folded;
    Truncation = Truncation::Head;
    FrameDefect = FrameDefect::Padding;
    WebSocketDefect = WebSocketDefect::AfterClose;
    Problem = Problem::AsSent(Fault::example());
    Fault = Fault::OtherCoding("gzip");
}

/// Returns the rows of a table: the name of each variant and the text of its example.
fn rows<T: ToString>(table: &str, examples: Vec<(&'static str, T)>) -> Vec<String> {
    let row = |(name, example): (_, T)| format!("{table}::{name}: {}\n", example.to_string());
    examples.into_iter().map(row).collect()
}

/// Returns the rows of a table of the wire crate.
fn named<T: Debug + ToString>(table: &str, all: &[T]) -> Vec<String> {
    all.iter().map(|value| format!("{table}::{value:?}: {}\n", value.to_string())).collect()
}

#[test]
fn every_note_has_the_text_of_the_golden_file() {
    let rows: Vec<String> = [
        rows("Note", Note::examples()),
        rows("Defect", Defect::examples()),
        rows("Truncation", Truncation::examples()),
        rows("FrameDefect", FrameDefect::examples()),
        rows("WebSocketDefect", WebSocketDefect::examples()),
        rows("Problem", Problem::examples()),
        rows("Fault", Fault::examples()),
        rows("MessageProblem", MessageProblem::examples()),
        named("Contradiction", Contradiction::ALL),
        named("Flaw", Flaw::ALL),
        named("Why", Why::ALL),
        named("frame::Defect", frame::Defect::ALL),
        named("hpack::Defect", hpack::Defect::ALL),
        named("hpack::Error", hpack::Error::ALL),
    ]
    .concat();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/notes.txt");
    golden::check(&file, &rows.concat());
}

#[test]
fn no_two_notes_have_the_same_text() {
    let mut texts: Vec<String> =
        Note::examples().into_iter().map(|(_, note)| note.to_string()).collect();
    texts.sort();
    assert!(texts.iter().all(|text| !text.is_empty()));
    let same: Vec<_> = texts.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert!(same.is_empty(), "{same:?}");
}

#[test]
fn singular_and_unknown_causes_have_their_own_texts() {
    let cause = GapCause::Unknown;
    assert_eq!(Note::Missing(1, End::Remote, cause), "1 byte missing from the remote end");
    assert_eq!(
        Note::UnknownFields(Part::Response, 1),
        "response: 1 header field is <unknown>: the compression refers to unrecorded fields"
    );
    assert_eq!(Note::ResetBy(End::Local, ErrorCode(99)), "reset by the local end: error 0x63");
    assert_eq!(Note::NoResponse(Ended::Recording), "no response before the recording ended");
}
