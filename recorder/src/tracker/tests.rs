//! Hand-made events, and the records that must result from them.

use std::cell::RefCell;

use super::*;
use crate::functions::index_of;

mod holes;

const EXEC: u8 = types::event_kind::EVENT_EXEC.0 as u8;
const DATA: u8 = types::event_kind::EVENT_DATA.0 as u8;
const GAP: u8 = types::event_kind::EVENT_GAP.0 as u8;
const CONN: u8 = types::event_kind::EVENT_CONN.0 as u8;
const TLS_PARAM: u8 = types::event_kind::EVENT_TLS_PARAM.0 as u8;
const CLOSE: u8 = types::event_kind::EVENT_CLOSE.0 as u8;
const LATE_CLOSE: u8 = types::event_kind::EVENT_LATE_CLOSE.0 as u8;
/// No process has it: pids end at 2^22.
const PID: u32 = 1 << 30;

/// An event field by field, as `bpf/event.h` lays it out.
struct Bytes(Vec<u8>);

impl Bytes {
    fn head(kind: u8, ssl: u64, born_ns: u64, len: u32) -> Self {
        Self::head_of(kind, 0, ssl, born_ns, len)
    }

    fn head_of(kind: u8, dir: u8, ssl: u64, born_ns: u64, len: u32) -> Self {
        let mut bytes = Self(vec![kind, dir]);
        bytes.0.extend(1u16.to_ne_bytes());
        bytes.u32(PID).u32(PID).u32(len).u64(1_000).u64(ssl).u64(born_ns)
    }

    fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_ne_bytes());
        self
    }

    fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_ne_bytes());
        self
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }
}

fn conn(ssl: u64, born_ns: u64, local_port: u16, role: u8) -> Bytes {
    let mut address = [0; 16];
    address[..4].copy_from_slice(&[127, 0, 0, 1]);
    let mut comm = [0; 16];
    comm[..4].copy_from_slice(b"curl");
    Bytes::head(CONN, ssl, born_ns, 0)
        .raw(&address)
        .raw(&address)
        .raw(&local_port.to_ne_bytes())
        .raw(&443u16.to_ne_bytes())
        .raw(&(libc::AF_INET as u16).to_ne_bytes())
        .raw(&[0; 2])
        .u32(1000)
        .raw(&[0, 0, role, 0])
        .raw(&comm)
}

/// Returns data in a direction, as if the other direction had no bytes yet.
fn data(ssl: u64, born_ns: u64, dir: u8, offset: u64, payload: &[u8]) -> Bytes {
    let mut places = [0; 2];
    places[usize::from(dir)] = offset;
    data_at(ssl, born_ns, dir, places, payload)
}

fn data_at(ssl: u64, born_ns: u64, dir: u8, places: [u64; 2], payload: &[u8]) -> Bytes {
    let len = payload.len();
    let head = Bytes::head_of(DATA, dir, ssl, born_ns, len as u32);
    head.u64(places[0]).u64(places[1]).u64(5).u64(len as u64).u64(0).raw(payload)
}

fn gap_at(dir: u8, places: [u64; 2], len: u64, cause: types::gap_cause) -> Bytes {
    let head = Bytes::head_of(GAP, dir, 1, 10, 0);
    head.u64(places[0]).u64(places[1]).u64(len).u32(cause.0).u32(0)
}

/// Returns the event for the program's choice of a server name.
fn server_name(born_ns: u64, name: &str) -> Bytes {
    let head = Bytes::head(TLS_PARAM, 1, born_ns, name.len() as u32);
    head.u64(0)
        .u32(types::tls_param::PARAM_SERVER_NAME.0)
        .u32(0)
        .raw(name.as_bytes())
        .raw(&[0; 256])
}

/// Returns a close, which repeats all facts about the connection.
fn close_of(mut conn: Bytes, kind: u8, sent: u64, received: u64) -> Bytes {
    conn.0[0] = kind;
    conn.u64(sent).u64(received).u32(0).u32(0)
}

fn close(ssl: u64, born_ns: u64, sent: u64, received: u64) -> Bytes {
    close_of(conn(ssl, born_ns, 5000, 0), CLOSE, sent, received)
}

/// Returns the event as stored in the kernel side's table.
fn event_close(bytes: &Bytes) -> types::event_close {
    let Some(Event::Close(close) | Event::LateClose(close)) = Event::parse(&bytes.0) else {
        panic!("no close");
    };
    close
}

/// The kernel's tables.
#[derive(Default)]
struct Tables {
    conns: RefCell<Vec<(Key, types::conn)>>,
    late_closes: RefCell<Vec<(Key, types::event_close)>>,
}

impl Tables {
    fn add(&self, ssl: u64, born_ns: u64, offset: [u64; 2]) {
        let conn = types::conn { born_ns, offset, ..types::conn::default() };
        self.conns.borrow_mut().push((Key { pid: PID, ssl, born_ns }, conn));
    }
}

impl KernelState for Tables {
    fn conn(&self, key: Key) -> Option<types::conn> {
        self.conns.borrow().iter().find(|(known, _)| *known == key).map(|(_, conn)| *conn)
    }

    fn each_conn(&self, pid: Option<u32>, visit: &mut dyn FnMut(Key, &types::conn)) {
        let conns = self.conns.borrow();
        let wanted = conns.iter().filter(|(key, _)| pid.is_none_or(|pid| key.pid == pid));
        wanted.for_each(|(key, conn)| visit(*key, conn));
    }

    fn late_closes(&self, pid: Option<u32>) -> Vec<Key> {
        let closes = self.late_closes.borrow();
        let keys = closes.iter().map(|(key, _)| *key);
        keys.filter(|key| pid.is_none_or(|pid| key.pid == pid)).collect()
    }

    fn take_late_close(&self, key: Key) -> Option<types::event_close> {
        let mut closes = self.late_closes.borrow_mut();
        let index = closes.iter().position(|(known, _)| *known == key)?;
        Some(closes.remove(index).1)
    }

    fn forget(&self, pid: u32, before_ns: u64) {
        self.conns.borrow_mut().retain(|(key, _)| key.pid != pid || key.born_ns >= before_ns);
    }
}

fn tracker() -> Tracker<Tables> {
    tracker_under(Ceiling::none())
}

fn tracker_under(ceiling: Ceiling) -> Tracker<Tables> {
    Tracker::new(Clock::new(), Tables::default(), ["/lib/libssl.so.3"].into(), ceiling)
}

fn exit(ts_ns: u64) -> Bytes {
    Bytes(crate::kernel::event::exit_event(PID, ts_ns))
}

/// Returns the records of the events, each as a short line.
fn lines(tracker: &mut Tracker<Tables>, events: &[Bytes]) -> Vec<String> {
    let mut lines = Vec::new();
    for event in events {
        tracker.event(&event.0, &mut |record| lines.push(line(record)));
    }
    lines
}

fn line(record: &Record<'_>) -> String {
    match record {
        Record::Process(p) => format!("process {} {}", p.comm, p.uid),
        Record::Connection(c) => {
            let ends = c.local.zip(c.remote).map(|(l, r)| format!(" {l}->{r}")).unwrap_or_default();
            let sni = c.sni.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
            format!("conn {} {} {}{ends}{sni}", c.conn, c.role, c.addr)
        }
        Record::Data(d) => {
            let text = String::from_utf8_lossy(d.payload);
            format!("{} {} {} {} {text}", d.func, d.conn, d.dir, d.offset)
        }
        Record::Gap(g) => format!("gap {} {} {}+{} {}", g.conn, g.dir, g.offset, g.len, g.cause),
        Record::Handshake(h) => format!("handshake {}", h.conn),
        Record::Close(c) => {
            format!("close {} {} {} {}", c.conn, c.cause, c.sent_bytes, c.received_bytes)
        }
        Record::Exit(e) => format!("exit of {}", e.pid),
        Record::Coverage(_) => "coverage".into(),
        Record::Stats(_) => "stats".into(),
    }
}

#[test]
fn a_connection_is_described_before_its_data() {
    let events = [conn(1, 10, 5000, 1), data(1, 10, 0, 0, b"GET"), data(1, 10, 1, 0, b"200")];
    assert_eq!(
        lines(&mut tracker(), &events),
        [
            "process curl 1000",
            "conn 1 client exact 127.0.0.1:5000->127.0.0.1:443",
            "SSL_write 1 sent 0 GET",
            "SSL_write 1 received 0 200",
        ]
    );
}

#[test]
fn an_offset_ahead_is_a_hole() {
    let mut tracker = tracker();
    let events = [data(1, 10, 0, 0, b"abc"), data(1, 10, 0, 7, b"h")];
    let lines = lines(&mut tracker, &events);
    assert_eq!(lines[3..], ["gap 1 sent 3+4 ring_full", "SSL_write 1 sent 7 h"]);
    assert_eq!(tracker.totals().lost_bytes, 4);
}

#[test]
fn a_gap_has_its_cause_and_the_hole_before_it_is_a_separate_gap() {
    let gap = gap_at(1, [0, 5], 10, types::gap_cause::GAP_SNAPLEN);
    let mut tracker = tracker();
    let lines = lines(&mut tracker, &[data(1, 10, 1, 0, b"abc"), gap]);
    assert_eq!(lines[3..], ["gap 1 received 3+2 ring_full", "gap 1 received 5+10 snaplen"]);
    assert_eq!((tracker.totals().lost_bytes, tracker.totals().cut_bytes), (2, 10));
}

#[test]
fn the_final_length_shows_the_loss_at_the_end() {
    let events = [conn(1, 10, 5000, 2), data(1, 10, 0, 0, b"abc"), close(1, 10, 8, 2)];
    assert_eq!(
        lines(&mut tracker(), &events)[3..],
        ["gap 1 sent 3+5 ring_full", "gap 1 received 0+2 ring_full", "close 1 freed 8 2"]
    );
}

#[test]
fn an_object_used_again_is_another_connection() {
    let events = [
        conn(1, 10, 5000, 1),
        data(1, 10, 0, 0, b"a"),
        close(1, 10, 1, 0),
        conn(1, 20, 5001, 1),
        data(1, 20, 0, 0, b"b"),
    ];
    let lines = lines(&mut tracker(), &events);
    assert_eq!(lines[3], "close 1 freed 1 0");
    assert_eq!(
        lines[4..],
        ["conn 2 client exact 127.0.0.1:5001->127.0.0.1:443", "SSL_write 2 sent 0 b"]
    );
}

#[test]
fn a_server_name_may_come_before_or_after() {
    let name = |name| server_name(10, name);
    let events = [name("a.example"), conn(1, 10, 5000, 1), name("b.example"), name("b.example")];
    assert_eq!(
        lines(&mut tracker(), &events)[1..],
        [
            "conn 1 client exact 127.0.0.1:5000->127.0.0.1:443 a.example",
            "conn 1 client exact 127.0.0.1:5000->127.0.0.1:443 b.example",
        ]
    );
}

/// A client that sets the name and then fails to connect, over and over.
#[test]
fn names_of_unused_objects_do_not_pile_up() {
    let name = |born_ns| server_name(born_ns, "a.example");
    let mut tracker = tracker();
    for born_ns in 0..100 {
        assert!(lines(&mut tracker, &[name(born_ns)]).is_empty());
    }
    assert_eq!(tracker.params.len(), 1);
    let lines = lines(&mut tracker, &[conn(1, 200, 5000, 1)]);
    assert!(!lines[1].contains("a.example"), "the name was another object's: {lines:?}");
}

#[test]
fn a_process_takes_its_connections_along() {
    let events = [data(1, 10, 0, 0, b"ab"), data(2, 11, 1, 0, b"c"), exit(2_000)];
    let mut tracker = tracker();
    let exit = format!("exit of {PID}");
    assert_eq!(lines(&mut tracker, &events)[5..], ["close 1 exit 2 0", "close 2 exit 0 1", &exit]);
    assert!(tracker.processes.is_empty() && tracker.conns.is_empty());
}

#[test]
fn open_connections_are_closed_as_unfinished_at_the_end() {
    let mut tracker = tracker();
    lines(&mut tracker, &[conn(1, 10, 5000, 1)]);
    let mut last = Vec::new();
    tracker.finish(crate::clock::boot_time_ns(), &mut |record| last.push(line(record)));
    assert_eq!(last, ["close 1 still_open 0 0"]);
}

/// Its object was not released, so the kernel side could not report it.
#[test]
fn a_handshake_that_had_not_succeeded_when_the_process_ended_has_failed() {
    for (offset, unsure, expected) in [([0; 2], 0, 1), ([0; 2], 1, 0), ([1, 0], 0, 0)] {
        let mut tracker = tracker();
        let conn = types::conn {
            born_ns: 10,
            offset,
            handshake_ns: 1_000,
            handshake_end_ns: 1_500,
            handshake_unsure: unsure,
            handshake_result: -28,
            handshake_func: index_of("gnutls_handshake").unwrap(),
            ..types::conn::default()
        };
        tracker.kernel.conns.borrow_mut().push((Key { pid: PID, ssl: 1, born_ns: 10 }, conn));
        let mut failed = Vec::new();
        tracker.event(&exit(2_000).0, &mut |record| {
            if let Record::Handshake(handshake) = record {
                failed.push((
                    handshake.func.to_owned(),
                    handshake.ok,
                    handshake.lat_ns,
                    handshake.result,
                ));
            }
        });
        let wanted = ("gnutls_handshake".to_owned(), false, 500, Some(-28));
        assert_eq!(failed, vec![wanted; expected], "{offset:?} {unsure}");
    }
}

#[test]
fn the_kernels_final_counts_show_the_loss_at_the_end() {
    let mut tracker = tracker();
    tracker.kernel.add(1, 10, [5, 0]);
    let lines = lines(&mut tracker, &[conn(1, 10, 5000, 1), data(1, 10, 0, 0, b"ab"), exit(2_000)]);
    assert_eq!(lines[3..5], ["gap 1 sent 2+3 ring_full", "close 1 exit 5 0"]);
    assert!(tracker.kernel.conns.borrow().is_empty(), "the entry is gone");
}

/// The ring was full for its whole life.
#[test]
fn a_connection_of_which_no_event_came_through_is_stated() {
    let mut tracker = tracker();
    tracker.kernel.add(1, 10, [700, 30]);
    tracker.kernel.add(2, 11, [0, 0]);
    let lines = lines(&mut tracker, &[exit(2_000)]);
    assert_eq!(
        lines[1..5],
        [
            "conn 1 unknown unknown",
            "gap 1 sent 0+700 ring_full",
            "gap 1 received 0+30 ring_full",
            "close 1 exit 700 30",
        ]
    );
    assert_eq!(tracker.totals().lost_bytes, 730);
}

#[test]
fn an_exec_keeps_the_connections_of_the_new_image() {
    let mut tracker = tracker();
    tracker.kernel.add(1, 10, [2, 0]);
    tracker.kernel.add(3, 3_000, [9, 0]);
    let mut exec = exit(2_000);
    exec.0[0] = EXEC;
    let lines = lines(&mut tracker, &[data(1, 10, 0, 0, b"ab"), exec, data(3, 3_000, 0, 0, b"x")]);
    assert_eq!(lines[3], "close 1 exit 2 0");
    assert!(lines[4].starts_with("process"), "it may be called otherwise by now: {lines:?}");
    assert_eq!(lines.last().unwrap(), "SSL_write 2 sent 0 x");
    assert_eq!(tracker.kernel.conns.borrow().len(), 1);
    assert_eq!(tracker.totals().processes, 1);
}

#[test]
fn an_end_that_comes_late_is_not_that_of_the_next_process_with_the_number() {
    let mut tracker = tracker();
    let events = [data(1, 10, 0, 0, b"a"), data(1, 3_000, 0, 0, b"b"), exit(2_000)];
    let first = lines(&mut tracker, &events);
    assert_eq!(first.last().unwrap(), "close 1 exit 1 0");
    assert_eq!(lines(&mut tracker, &[exit(9_000)]).last().unwrap(), &format!("exit of {PID}"));
}

#[test]
fn a_late_close_counts_once_whichever_way_it_comes() {
    let key = Key { pid: PID, ssl: 1, born_ns: 10 };
    let late = || close_of(conn(1, 10, 5000, 1), LATE_CLOSE, 8, 0);
    for events in [vec![late(), exit(2_000), late()], vec![exit(2_000), late()]] {
        let mut tracker = tracker();
        tracker.kernel.late_closes.borrow_mut().push((key, event_close(&late())));
        let mut all = lines(&mut tracker, &[conn(1, 10, 5000, 1), data(1, 10, 0, 0, b"abc")]);
        all.extend(lines(&mut tracker, &events));
        all.retain(|line| !line.starts_with("exit"));
        assert_eq!(all[3..], ["gap 1 sent 3+5 ring_full", "close 1 freed 8 0"], "{all:#?}");
    }
}

/// No event may revive an ended connection. Only the table of late closes contains such a
/// connection: no event of it arrived, or there was no memory for it.
#[test]
fn a_late_close_is_stated_before_the_end_of_its_process() {
    let key = Key { pid: PID, ssl: 1, born_ns: 10 };
    let late = || close_of(conn(1, 10, 5000, 1), LATE_CLOSE, 8, 0);
    for (ceiling, cause) in [(Ceiling::none(), "ring_full"), (Ceiling::closed(), "memory")] {
        let mut tracker = tracker_under(ceiling);
        if cause == "memory" {
            assert!(lines(&mut tracker, &[conn(1, 10, 5000, 1)]).is_empty());
        }
        tracker.kernel.late_closes.borrow_mut().push((key, event_close(&late())));
        assert_eq!(
            lines(&mut tracker, &[exit(2_000), late()])[1..],
            [
                "conn 1 client exact 127.0.0.1:5000->127.0.0.1:443",
                &format!("gap 1 sent 0+8 {cause}"),
                "close 1 freed 8 0",
                &format!("exit of {PID}"),
            ]
        );
        assert!(tracker.processes.is_empty() && tracker.turned_away.is_empty());
    }
}

#[test]
fn a_close_describes_a_connection_without_other_events() {
    let events = [close_of(conn(1, 10, 5000, 1), CLOSE, 4, 0)];
    assert_eq!(
        lines(&mut tracker(), &events)[1..],
        [
            "conn 1 client exact 127.0.0.1:5000->127.0.0.1:443",
            "gap 1 sent 0+4 ring_full",
            "close 1 freed 4 0",
        ]
    );
}

#[test]
fn mapped_addresses_are_ipv4() {
    let mut bytes = [0; 16];
    bytes[10..].copy_from_slice(&[0xff, 0xff, 10, 0, 0, 5]);
    let folded = address(libc::AF_INET6 as u16, &bytes, 443);
    assert_eq!(folded, "10.0.0.5:443".parse().ok());
    assert_eq!(address(0, &bytes, 443), None);
}

#[test]
fn foreign_bytes_are_counted_not_believed() {
    let mut tracker = tracker();
    tracker.event(b"nonsense", &mut |_| panic!("no record comes of this"));
    assert_eq!(tracker.totals().bad_events, 1);
}

/// Its bytes are a gap when it ends, in whatever way the end is reported.
#[test]
fn a_connection_without_memory_is_stated_at_its_end() {
    let by_close = close(1, 10, 5, 3);
    for (end, cause) in [(by_close, "freed"), (exit(2_000), "exit")] {
        let mut tracker = tracker_under(Ceiling::closed());
        tracker.kernel.add(1, 10, [5, 3]);
        let begun = [
            server_name(10, "a.example"),
            conn(1, 10, 5000, 1),
            data(1, 10, 0, 0, b"GET /"),
            data(1, 10, 1, 0, b"200"),
        ];
        assert!(lines(&mut tracker, &begun).is_empty());
        // It is turned away for good, so that its bytes are not reported twice.
        tracker.ceiling = Ceiling::none();
        assert!(lines(&mut tracker, &[data(1, 10, 1, 3, b"!")]).is_empty());
        let last = lines(&mut tracker, &[end]);
        let close = format!("close 1 {cause} 5 3");
        let gaps = ["gap 1 sent 0+5 memory", "gap 1 received 0+3 memory", &close];
        assert_eq!(last[2..5], gaps, "{last:?}");
        assert_eq!((tracker.totals().lost_bytes, tracker.totals().no_memory), (8, 1));
        assert!(tracker.turned_away.is_empty() && tracker.conns.is_empty());
        assert_eq!(tracker.unstarted, 0);
    }
}

/// Neither the ring nor the table of late closes had room for their ends.
#[test]
fn connections_without_memory_whose_closes_were_lost_do_not_pile_up() {
    let mut tracker = tracker_under(Ceiling::closed());
    for born_ns in 0..100 {
        assert!(lines(&mut tracker, &[conn(1, born_ns, 5000, 1)]).is_empty());
    }
    assert_eq!((tracker.turned_away.len(), tracker.totals().no_memory), (1, 100));
}

/// The object is in use again before its late close is processed.
#[test]
fn a_late_close_of_a_connection_without_memory_keeps_its_cause() {
    let mut tracker = tracker_under(Ceiling::closed());
    let late = || close_of(conn(1, 10, 5000, 1), LATE_CLOSE, 8, 0);
    let key = Key { pid: PID, ssl: 1, born_ns: 10 };
    assert!(lines(&mut tracker, &[conn(1, 10, 5000, 1)]).is_empty());
    tracker.kernel.late_closes.borrow_mut().push((key, event_close(&late())));
    let lines = lines(&mut tracker, &[conn(1, 20, 5001, 1), late(), close(1, 20, 4, 0)]);
    let gaps: Vec<_> = lines.iter().filter(|line| line.starts_with("gap")).collect();
    assert_eq!(gaps, ["gap 1 sent 0+8 memory", "gap 2 sent 0+4 memory"]);
    assert!(tracker.turned_away.is_empty());
}

#[test]
fn data_that_finds_no_memory_is_a_gap_at_its_place() {
    let mut tracker = tracker();
    lines(&mut tracker, &[conn(1, 10, 5000, 1), data(1, 10, 0, 0, b"ab")]);
    tracker.ceiling = Ceiling::passed();
    let events = [data(1, 10, 0, 2, b"cd"), conn(2, 11, 5001, 1)];
    assert_eq!(lines(&mut tracker, &events), ["gap 1 sent 2+2 memory"]);
    tracker.ceiling = Ceiling::none();
    assert_eq!(lines(&mut tracker, &[data(1, 10, 0, 4, b"e")]), ["SSL_write 1 sent 4 e"]);
    assert_eq!((tracker.totals().lost_bytes, tracker.totals().no_memory), (2, 2));
}
