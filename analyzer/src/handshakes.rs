//! The TLS handshakes of one connection, on their way into the listing.
//!
//! Where both ends of a connection were recorded, it is settled with its first data, gap or close
//! which one is listed ([`sslrec_formats::pairing`]). What came before that waits for it here, and
//! the last ones only, exactly as they do for a pcapng: so either file gives the same listing.

use std::collections::VecDeque;

use sslrec_formats::pcapng::HELD_HANDSHAKES;

use crate::exchange::{Handshake, Item};
use crate::timeline::Timeline;

/// Holds the handshakes of one connection until it is known whether this end is listed.
#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    held: VecDeque<Handshake>,
    /// This end of the connection is listed, and so is what follows.
    settled: bool,
    /// When the last one ended. The two files of one recording may be read together, and then each
    /// comes twice.
    latest_ns: Option<u64>,
}

impl Handshakes {
    /// One more.
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

    /// This end of the connection is listed.
    pub(crate) fn settle(&mut self, timeline: &mut Timeline) {
        self.settled = true;
        self.held.drain(..).for_each(|handshake| list(handshake, timeline));
    }
}

fn list(handshake: Handshake, timeline: &mut Timeline) {
    let ticket = timeline.open(handshake.first_ns);
    timeline.close(ticket, Item::Handshake(Box::new(handshake)));
}
