//! The TLS handshakes of a connection, on their way into the listing.
//!
//! If both ends of a connection were recorded, its first data, gap or close determines which end is
//! listed ([`sslrec_formats::pairing`]). Earlier handshakes wait for this decision, and only the
//! last ones are kept, exactly as for a pcapng: so either file has the same listing.

use std::collections::VecDeque;

use sslrec_formats::pcapng::HELD_HANDSHAKES;

use crate::exchange::{Handshake, Item};
use crate::timeline::Timeline;

/// Holds the handshakes of a connection until it is known whether this end is listed.
#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    held: VecDeque<Handshake>,
    /// This end of the connection is listed, with all further handshakes.
    settled: bool,
    /// End of the last handshake. If the two files of a recording are read together, each handshake
    /// comes twice.
    latest_ns: Option<u64>,
}

impl Handshakes {
    /// Adds a handshake.
    pub(crate) fn add(&mut self, handshake: Handshake, timeline: &mut Timeline) {
        let ended = Some(handshake.last_ns);
        if ended <= self.latest_ns {
            return;
        }
        self.latest_ns = ended;
        if self.settled {
            return list(handshake, timeline);
        }
        if self.held.len() == HELD_HANDSHAKES {
            self.held.pop_front();
        }
        self.held.push_back(handshake);
    }

    /// Lists the waiting handshakes: this end of the connection is listed.
    pub(crate) fn settle(&mut self, timeline: &mut Timeline) {
        self.settled = true;
        self.held.drain(..).for_each(|handshake| list(handshake, timeline));
    }
}

fn list(handshake: Handshake, timeline: &mut Timeline) {
    let ticket = timeline.open(handshake.first_ns);
    timeline.close(ticket, Item::Handshake(Box::new(handshake)));
}
