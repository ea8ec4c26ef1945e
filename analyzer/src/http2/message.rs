//! Field blocks as parts of the messages of an exchange.

use super::head::Head;
use super::open::Open;
use crate::budget::Keep;
use crate::exchange::{Interim, Note, Part, Request, Scheme};
use crate::text::readable;

/// Maximum number of interim responses kept of an exchange.
const MAX_INTERIM: usize = 1000;

/// Adds notes about the defects and the unknown parts of a head.
pub(super) fn note_defects(head: &Head, part: Part, open: &mut Open) {
    open.exchange.note_defects(part, &head.defects);
    if let Some(why) = head.cut {
        open.exchange.note(Note::Truncated(part, why));
        open.whole = false;
    }
    if head.unknown > 0 {
        open.exchange.note(Note::UnknownFields(part, head.unknown));
        open.whole = false;
    }
}

pub(super) fn request(head: Head, open: &mut Open, first_ns: u64, keep: &Keep) {
    open.request.head = true;
    open.message(true, first_ns, keep).headers = head.fields;
    let Some(request) = &mut open.exchange.request else { return };
    let is_tunnel = head.method.as_deref() == Some("CONNECT") && head.protocol.is_none();
    // RFC 9113 section 8.5: CONNECT has an authority and no path.
    let target = if is_tunnel { head.authority.clone() } else { head.path };
    *request = Request {
        method: head.method,
        target,
        line: None,
        scheme: head.scheme.map_or(Scheme::Unknown, Scheme::Sent),
        pseudo_authority: head.authority,
        pseudo_protocol: head.protocol,
        message: std::mem::take(&mut request.message),
    };
    if let Some(protocol) = &request.pseudo_protocol {
        let note = Note::ExtendedConnect(readable(protocol).into());
        open.exchange.note(note);
    }
}

pub(super) fn response(head: Head, open: &mut Open, first_ns: u64, keep: &Keep) {
    open.response.head = true;
    open.message(false, first_ns, keep).headers = head.fields;
    if let Some(response) = &mut open.exchange.response {
        response.status = head.status;
    }
}

/// Removes the response if so far it has only a head of unknown status. A further head shows that
/// it was an interim response. Without a status it cannot be listed as an interim response, so it
/// is omitted, with a note.
pub(super) fn was_interim(open: &mut Open) -> bool {
    let Some(response) = &open.exchange.response else { return false };
    if response.status.is_some() || response.message.body.bytes > 0 {
        return false;
    }
    open.exchange.response = None;
    open.response.head = false;
    open.exchange.note(Note::InterimWithoutStatus);
    true
}

pub(super) fn interim(head: Head, open: &mut Open) {
    let Some(status) = head.status else { return };
    if open.exchange.interim.len() < MAX_INTERIM {
        open.exchange.interim.push(Interim { status, headers: head.fields });
    } else {
        open.exchange.note(Note::InterimLeftOut(MAX_INTERIM));
    }
}

pub(super) fn trailers(head: Head, open: &mut Open, is_request: bool, first_ns: u64, keep: &Keep) {
    let progress = open.progress(is_request);
    if !std::mem::replace(&mut progress.head, true) {
        open.whole = false;
        open.exchange.note(Note::HeadNotRecorded(Part::of(is_request)));
    }
    if head.is_request() || head.is_response() {
        open.exchange.note(Note::PseudoInTrailers(Part::of(is_request)));
    }
    let message = open.message(is_request, first_ns, keep);
    if message.trailers.is_empty() {
        message.trailers = head.fields;
    } else {
        head.fields.iter().for_each(|(name, value)| message.trailers.push(name, value));
    }
}
