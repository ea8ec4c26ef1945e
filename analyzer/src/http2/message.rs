//! Field blocks as parts of the messages of an exchange.

use super::head::Head;
use super::open::Open;
use crate::budget::Keep;
use crate::exchange::{Interim, Request, Scheme};
use crate::text::latin1;

/// Maximum number of interim responses kept of an exchange.
const MAX_INTERIM: usize = 1000;

/// Adds notes about the defects and the unknown parts of a head.
pub(super) fn tell(head: &Head, side: &str, open: &mut Open) {
    for what in &head.anomalies {
        open.exchange.note(format!("{side}: {what}"));
    }
    if let Some(why) = head.cut {
        open.exchange.note(format!("{side}: {why}"));
        open.whole = false;
    }
    if head.unknown > 0 {
        let fields = if head.unknown == 1 { "field is" } else { "fields are" };
        open.exchange.note(format!(
            "{side}: {} header {fields} <unknown>: the compression refers to unrecorded fields",
            head.unknown
        ));
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
        scheme: head.scheme.map_or(Scheme::Unknown, Scheme::Sent),
        pseudo_authority: head.authority,
        pseudo_protocol: head.protocol,
        message: std::mem::take(&mut request.message),
    };
    if let Some(protocol) = &request.pseudo_protocol {
        let note = format!("extended CONNECT to {}", latin1(protocol));
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
    open.exchange.note("response: an interim response of unknown status is left out");
    true
}

pub(super) fn interim(head: Head, open: &mut Open) {
    let Some(status) = head.status else { return };
    if open.exchange.interim.len() < MAX_INTERIM {
        open.exchange.interim.push(Interim { status, headers: head.fields });
    } else {
        open.exchange.note("more than 1000 interim responses; the rest was left out");
    }
}

pub(super) fn trailers(head: Head, open: &mut Open, is_request: bool, first_ns: u64, keep: &Keep) {
    let progress = open.progress(is_request);
    if !std::mem::replace(&mut progress.head, true) {
        let side = if is_request { "request" } else { "response" };
        open.whole = false;
        open.exchange.note(format!("{side}: its head was not recorded"));
    }
    if head.is_request() || head.is_response() {
        let side = if is_request { "request" } else { "response" };
        open.exchange.note(format!("{side}: pseudo-header fields in the trailers"));
    }
    let message = open.message(is_request, first_ns, keep);
    if message.trailers.is_empty() {
        message.trailers = head.fields;
    } else {
        head.fields.iter().for_each(|(name, value)| message.trailers.push(name, value));
    }
}
