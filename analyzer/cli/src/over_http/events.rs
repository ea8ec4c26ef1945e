//! Server-sent events in the outputs.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::Serialize;
use sslrec_analyzer::descriptors::Descriptors;
use sslrec_analyzer::exchange::{Exchange, Sender};
use sslrec_analyzer::over_http::events::{Event, Events};
use sslrec_analyzer::text::Rfc3339;
use sslrec_cli::text::Printable;

use super::json::{List, list};
use super::{Shown, write_start};
use crate::safe_json;
use crate::text::{Duration, Text};

impl Shown for Events {
    fn summary(&self) -> String {
        format!("{} {}", self.count, if self.count == 1 { "event" } else { "events" })
    }

    fn write_json(
        &self,
        out: &mut dyn Write,
        exchange: &Exchange,
        _: Option<&Descriptors>,
    ) -> serde_json::Result<()> {
        safe_json::to_writer(out, &events(exchange, self))
    }

    fn replaces_body(&self, from: Sender) -> bool {
        from == Sender::Server
    }

    fn show(&self, out: &mut dyn Write, first_ns: u64, _: Option<&Descriptors>) -> io::Result<()> {
        write!(out, "* {} {}", self.count, if self.count == 1 { "event" } else { "events" })?;
        if let Some(time_ns) = self.first_ns {
            write!(out, ", the first after {:#}", Duration(time_ns.saturating_sub(first_ns)))?;
        }
        writeln!(out)?;
        for Event { time_ns, event, id, data } in self.messages.iter().flatten() {
            write_start(out, Sender::Server, *time_ns, first_ns)?;
            write!(out, "{}", Printable(event.as_deref().unwrap_or("message")))?;
            if let Some(id) = id {
                write!(out, " id {}", Printable(id))?;
            }
            writeln!(out, ": {}", Printable(&String::from_utf8_lossy(data)))?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct EventsObject<'a> {
    count: u64,
    first_ms: Option<f64>,
    retry_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: List<'a, Event, EventObject<'a>>,
}

#[derive(Serialize)]
struct EventObject<'a> {
    time: Text<Rfc3339>,
    event: Option<&'a str>,
    id: Option<&'a str>,
    data: Cow<'a, str>,
}

fn events<'a>(exchange: &Exchange, events: &'a Events) -> EventsObject<'a> {
    let asked_ns = exchange.request.as_ref().map(|request| request.message.first_ns);
    let first_ns =
        asked_ns.zip(events.first_ns).and_then(|(asked, first)| first.checked_sub(asked));
    EventsObject {
        count: events.count,
        first_ms: first_ns.map(|ns| ns as f64 / 1e6),
        retry_ms: events.retry_ms,
        messages: list(&events.messages, |event| EventObject {
            time: Text(Rfc3339(event.time_ns)),
            event: event.event.as_deref(),
            id: event.id.as_deref(),
            data: String::from_utf8_lossy(&event.data),
        }),
    }
}
