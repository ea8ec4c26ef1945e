//! The place of a hole among the records of both directions.

use super::*;

const SENT: u8 = 0;
const RECEIVED: u8 = 1;

fn sent(places: [u64; 2], text: &str) -> Bytes {
    data_at(1, 10, SENT, places, text.as_bytes())
}

fn received(places: [u64; 2], text: &str) -> Bytes {
    data_at(1, 10, RECEIVED, places, text.as_bytes())
}

/// Returns the records after the descriptions of the process and the connection.
fn records(events: &[Bytes]) -> Vec<String> {
    let mut events: Vec<_> = events.iter().map(|event| Bytes(event.0.clone())).collect();
    events.insert(0, conn(1, 10, 5000, 1));
    lines(&mut tracker(), &events)[2..].to_vec()
}

#[test]
fn a_lost_response_is_a_gap_before_the_next_request() {
    let events = [
        sent([0, 0], "GET /1"),
        // Its response of 9 bytes was lost.
        sent([6, 9], "GET /2"),
        received([12, 9], "two"),
    ];
    assert_eq!(
        records(&events),
        [
            "SSL_write 1 sent 0 GET /1",
            "gap 1 received 0+9 ring_full",
            "SSL_write 1 sent 6 GET /2",
            "SSL_write 1 received 9 two",
        ]
    );
}

#[test]
fn a_lost_request_is_a_gap_before_its_response() {
    let events = [
        sent([0, 0], "GET /1"),
        received([6, 0], "one"),
        received([12, 3], "two"),
        sent([12, 6], "GET /3"),
    ];
    assert_eq!(
        records(&events)[2..],
        ["gap 1 sent 6+6 ring_full", "SSL_write 1 received 3 two", "SSL_write 1 sent 12 GET /3",]
    );
}

#[test]
fn holes_of_both_directions_precede_the_event_that_shows_them() {
    let events = [sent([0, 0], "GET /1"), received([12, 9], "two")];
    assert_eq!(
        records(&events)[1..],
        ["gap 1 sent 6+6 ring_full", "gap 1 received 0+9 ring_full", "SSL_write 1 received 9 two",]
    );
}

/// While one thread sends, another receives: its event can have an offset from before the send.
#[test]
fn an_offset_behind_the_events_of_the_other_direction_is_no_hole() {
    let events = [
        sent([0, 0], "GET /1"),
        sent([6, 0], "GET /2"),
        received([6, 0], "one"),
        received([12, 3], "two"),
    ];
    let records = records(&events);
    assert!(records.iter().all(|record| !record.starts_with("gap")), "{records:#?}");
    assert_eq!(records.len(), 4);
}

#[test]
fn a_gap_event_shows_the_hole_of_the_other_direction() {
    let events = [
        sent([0, 0], "GET /1"),
        gap_at(RECEIVED, [12, 0], 9, types::gap_cause::GAP_READ_FAULT),
        sent([12, 9], "GET /3"),
    ];
    assert_eq!(
        records(&events)[1..],
        ["gap 1 sent 6+6 ring_full", "gap 1 received 0+9 read_fault", "SSL_write 1 sent 12 GET /3",]
    );
}

#[test]
fn a_hole_of_the_other_direction_counts_once() {
    let mut tracker = tracker();
    let events = [sent([0, 9], "GET /2"), sent([6, 9], "GET /3"), received([12, 9], "three")];
    let lines = lines(&mut tracker, &events);
    assert_eq!(lines.iter().filter(|line| line.starts_with("gap")).count(), 1, "{lines:#?}");
    assert_eq!(tracker.totals().lost_bytes, 9);
}

/// Any events may be lost. Before each record, the bytes of both directions are recorded or in a
/// gap up to the places that the kernel side stated.
#[test]
fn whatever_is_lost_each_record_follows_all_bytes_before_it() {
    const STEPS: usize = 10;
    for lost in 0u32..1 << STEPS {
        let mut places = [0; 2];
        let mut tracker = tracker();
        let mut written = PerDirection::<u64>::default();
        for step in 0..STEPS {
            // Requests and responses, some of them in two events.
            let dir = [SENT, RECEIVED, SENT, SENT, RECEIVED, RECEIVED][step % 6];
            let payload = vec![b'x'; 1 + step];
            let at = places;
            places[usize::from(dir)] += payload.len() as u64;
            if lost >> step & 1 == 1 {
                continue;
            }
            tracker.event(&data_at(1, 10, dir, at, &payload).0, &mut |record| match record {
                Record::Gap(gap) => {
                    assert_eq!(gap.offset, written[gap.dir], "{lost:b}");
                    written[gap.dir] += gap.len;
                }
                Record::Data(data) => {
                    assert_eq!(written, per_direction(at), "{lost:b} at {step}");
                    written[data.dir] += data.payload.len() as u64;
                }
                _ => {}
            });
        }
    }
}
