//! The library as other programs use it.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::io::Cursor;

use sslrec_analyzer::exchange::Item;
use sslrec_analyzer::{Capture, Error};
use sslrec_analyzer_testing::records::{Script, raw_log};

fn script() -> Script {
    let mut script = Script::client();
    for n in 0..3 {
        script = script
            .sent(format!("GET /{n} HTTP/1.1\r\nHost: h\r\n\r\n"))
            .received("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
    script.close()
}

fn capture(bytes: Vec<u8>) -> Capture {
    Capture::from_reader(Cursor::new(bytes)).unwrap()
}

#[test]
fn exchanges_come_in_order_and_then_the_summary() {
    let mut exchanges = capture(raw_log(&script().records())).exchanges();
    for n in 0..3u64 {
        assert!(exchanges.summary().is_none());
        let exchange = exchanges.next().unwrap().unwrap();
        assert_eq!(exchange.id, n + 1);
        assert_eq!(exchange.request.unwrap().path().unwrap(), format!("/{n}"));
        let body = exchange.response.unwrap().message.body;
        assert_eq!((body.bytes, body.data), (2, None));
    }
    assert!(exchanges.next().is_none() && exchanges.next().is_none());
    assert_eq!(exchanges.summary().unwrap().exchanges, 3);
}

#[test]
fn bodies_are_kept_where_wanted() {
    let capture = capture(raw_log(&script().records())).with_bodies();
    let exchange = capture.exchanges().next().unwrap().unwrap();
    assert_eq!(exchange.response.unwrap().message.body.data.unwrap(), b"ok");
}

#[test]
fn damage_comes_last_and_once() {
    let whole = raw_log(&script().records());
    let mut items = capture(whole[..whole.len() * 3 / 4].to_vec()).items();
    let last = items.by_ref().find(Result::is_err).unwrap();
    assert!(matches!(last, Err(Error::Damaged { .. })));
    assert!(items.next().is_none());
    assert!(!items.summary().unwrap().closed);
}

#[test]
fn an_iterator_can_be_left_early() {
    let mut items = capture(raw_log(&script().records())).items();
    assert!(matches!(items.next(), Some(Ok(Item::Exchange(_)))));
    drop(items);
}

#[test]
fn what_is_no_capture_is_an_error() {
    assert!(matches!(Capture::from_reader(&b"GET / HTTP/1.1"[..]), Err(Error::Foreign { .. })));
    assert!(matches!(Capture::open("/no/such/file"), Err(Error::Io(_))));
}
