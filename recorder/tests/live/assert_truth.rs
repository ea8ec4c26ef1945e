//! Compares recordings with the recorded programs' own account: nothing lost, nothing doubled, the
//! right end and the right address.

use crate::listing::Listing;
use crate::peers::End;
use crate::support::{Live, Recorded};

/// Compares the raw log with the truth: each end, paired or not.
pub(crate) fn assert_both_ends(live: &Live, recorded: &Recorded, truth: &[End]) {
    assert!(!truth.is_empty());
    let both = live.list(&recorded.raw, &["--bodies", "--both-ends"]);
    assert_nothing_lost(&both);
    assert_ends(&recorded_ends(&both), truth.to_vec(), "raw log, both ends");
}

/// Compares both files with the truth: each connection once, by its client's end where that is
/// recorded.
pub(crate) fn assert_recorded_once(live: &Live, recorded: &Recorded, truth: &[End]) {
    let once = live.list_both(&recorded.pcapng, &recorded.raw, &["--bodies"]);
    assert_nothing_lost(&once);
    assert_ends(&recorded_ends(&once), primaries(truth), "pcapng");
}

/// The ends as recorded, in an order that does not depend on time.
pub(crate) fn recorded_ends(listing: &Listing) -> Vec<End> {
    let exchanges = &listing.exchanges;
    assert!(exchanges.is_empty(), "the messages of the cases are not HTTP: {exchanges:?}");
    let mut ends: Vec<End> = listing.streams.iter().map(End::from_stream).collect();
    ends.sort();
    ends
}

/// Returns the ends that are listed by default of a connection with both ends recorded: the
/// client's.
fn primaries(truth: &[End]) -> Vec<End> {
    let hidden = |end: &End| {
        end.role == "server"
            && end.client.is_some()
            && truth.iter().any(|o| o.role == "client" && o.client == end.client)
    };
    truth.iter().filter(|end| !hidden(end)).cloned().collect()
}

/// Addresses are compared only where the program has a socket to ask.
pub(crate) fn assert_ends(recorded: &[End], mut expected: Vec<End>, what: &str) {
    expected.sort();
    let key = |end: &End| (end.role.clone(), end.from_client.clone(), end.from_server.clone());
    let keys = |ends: &[End]| ends.iter().map(key).collect::<Vec<_>>();
    assert_eq!(keys(recorded), keys(&expected), "{what}");
    for (recorded, expected) in recorded.iter().zip(&expected) {
        if expected.client.is_some() {
            let addresses = |end: &End| (end.client.clone(), end.server.clone());
            assert_eq!(addresses(recorded), addresses(expected), "{what}: {}", expected.name);
        }
    }
}

pub(crate) fn assert_nothing_lost(listing: &Listing) {
    assert_eq!(listing.summary["lost_bytes"], 0, "{}", listing.summary);
    assert_eq!(listing.summary["dropped_events"], 0, "{}", listing.summary);
    for stream in &listing.streams {
        assert_eq!(stream["complete"], true, "{}", stream["notes"]);
    }
}
