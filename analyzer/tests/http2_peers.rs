//! HTTP/2 of real ends: everything sent is listed, however calls are split and interleaved, and
//! nothing is invented for missing parts.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::collections::HashMap;

use sslrec_analyzer::exchange::{Exchange, Fields, Item, Message};
use sslrec_analyzer::pipeline::Options;
use sslrec_analyzer_testing::h2_peers;
use sslrec_analyzer_testing::h2_peers::{Calls, Pairs, Plan, Random, Setup, run};
use sslrec_analyzer_testing::records::{Script, list_records};
use sslrec_formats::record::Direction::{self, Received, Sent};

const UNKNOWN: &[u8] = b"<unknown>";

fn conversation(seed: u64) -> (Calls, Vec<Plan>) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let sizes = [0, 64, 256, 4096, 65_536];
    let setup = Setup {
        client_table: sizes[random.below(5) as usize],
        server_table: sizes[random.below(5) as usize],
        max_frame: [16_384, 30_000, 1 << 20][random.below(3) as usize],
        parallel: 1 + random.below(12) as usize,
        pipe: [100, 4096, 1 << 20][random.below(3) as usize],
    };
    let plans = random.plans(40);
    run(setup, plans)
}

fn script(calls: &Calls, ended: bool) -> Script {
    let script = calls.iter().fold(Script::client(), |s, (d, bytes)| s.data(*d, bytes));
    if ended { script.close() } else { script }
}

fn exchanges(script: &Script) -> Vec<Exchange> {
    let options = Options { bodies: true, ..Options::default() };
    let (items, _) = list_records(&script.records(), options);
    items
        .into_iter()
        .filter_map(|item| match item {
            Item::Exchange(exchange) => Some(*exchange),
            Item::Stream(_) | Item::Handshake(_) => None,
        })
        .collect()
}

fn listed(fields: &Fields) -> Pairs {
    fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

fn body(message: &Message) -> Vec<u8> {
    message.body.data.clone().unwrap_or_default()
}

/// Everything of the plan is in the exchange.
fn assert_whole(exchange: &Exchange, plan: &Plan) {
    let request = exchange.request.as_ref().unwrap();
    assert_eq!(exchange.proto, "h2");
    assert_eq!(request.method.as_deref(), Some(plan.method.as_str()));
    assert_eq!(request.path().as_deref(), Some(&*plan.path));
    assert_eq!(request.authority().as_deref(), Some(&*plan.authority));
    let url = format!("https://{}{}", plan.authority, plan.path);
    assert_eq!(request.url(false).as_deref(), Some(&*url));
    assert_eq!(listed(&request.message.headers), plan.request.fields());
    let interim: Vec<_> = exchange.interim.iter().map(|i| i.status).collect();
    if let Some(reason) = plan.reset {
        let note = format!("reset by the server: {reason:?}");
        assert!(exchange.notes.iter().any(|n| *n == *note), "{:?}", exchange.notes);
        assert!(!exchange.complete);
        return;
    }
    assert_eq!(body(&request.message), plan.request.body());
    assert_eq!(listed(&request.message.trailers), plan.request.trailer_fields());
    let said: Vec<_> = plan.interim.iter().map(|(status, _)| status.as_u16()).collect();
    assert_eq!(interim, said);
    let response = exchange.response.as_ref().unwrap();
    assert_eq!(response.status, Some(plan.status.as_u16()));
    assert_eq!(listed(&response.message.headers), plan.response.fields());
    assert_eq!(body(&response.message), plan.response.body());
    assert_eq!(listed(&response.message.trailers), plan.response.trailer_fields());
    assert!(exchange.complete, "{:?}", exchange.notes);
}

/// And nothing is strange about it.
fn assert_plain(exchange: &Exchange, plan: &Plan) {
    assert_whole(exchange, plan);
    let notes = usize::from(plan.pushed) + usize::from(plan.reset.is_some());
    assert_eq!(exchange.notes.len(), notes, "{:?}", exchange.notes);
}

fn assert_all(script: &Script, plans: &[Plan]) {
    let found = exchanges(script);
    assert_eq!(found.len(), plans.len());
    let by_stream: HashMap<u64, &Exchange> = found.iter().map(|e| (e.stream, e)).collect();
    for plan in plans {
        assert_plain(by_stream[&u64::from(plan.stream)], plan);
    }
}

/// The calls of each direction by themselves, and otherwise in order.
fn apart(calls: &Calls, first: Direction) -> Calls {
    let (mut a, b): (Calls, Calls) = calls.iter().cloned().partition(|(d, _)| *d == first);
    a.extend(b);
    a
}

fn cut(calls: &Calls, mut len: impl FnMut() -> usize) -> Calls {
    let mut pieces = Calls::new();
    for (direction, bytes) in calls {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(len().clamp(1, rest.len()));
            pieces.push((*direction, piece.to_vec()));
            rest = tail;
        }
    }
    pieces
}

#[test]
fn all_that_two_ends_said_is_listed_however_the_calls_are_cut() {
    for seed in 0..30 {
        let (calls, plans) = conversation(seed);
        let mut random = Random(seed + 1);
        assert_all(&script(&calls, true), &plans);
        assert_all(&script(&cut(&calls, || 1), true), &plans);
        let sizes = cut(&calls, || 1 + random.below(2000) as usize);
        assert_all(&script(&sizes, true), &plans);
    }
}

#[test]
fn the_directions_may_come_in_any_order() {
    for seed in 100..120 {
        let (calls, plans) = conversation(seed);
        // A stream that is reset is over, whatever the other side still sends.
        let plans: Vec<Plan> = plans.into_iter().filter(|plan| plan.reset.is_none()).collect();
        for first in [Sent, Received] {
            let found = exchanges(&script(&apart(&calls, first), true));
            let by_stream: HashMap<u64, &Exchange> = found.iter().map(|e| (e.stream, e)).collect();
            for plan in &plans {
                assert_plain(by_stream[&u64::from(plan.stream)], plan);
            }
        }
    }
}

/// Every listed exchange is a part of a planned exchange, in the planned order; unknown parts are
/// marked.
fn assert_part(found: &Pairs, said: &Pairs) {
    let mut said = said.iter();
    for (name, value) in found.iter().filter(|(name, _)| name != UNKNOWN) {
        assert!(
            said.any(|(n, v)| n == name && (v == value || value == UNKNOWN)),
            "{} {} was not said",
            name.escape_ascii(),
            value.escape_ascii()
        );
    }
}

/// A single gap; nothing else is missing.
fn assert_holed(found: &[u8], said: &[u8]) {
    let same = found.iter().zip(said).take_while(|(a, b)| a == b).count();
    // Bytes after the gap may begin like the missing bytes.
    let fits = (0..=same).any(|at| said.ends_with(&found[at..]));
    assert!(found.len() <= said.len() && fits, "{} of {} bytes", found.len(), said.len());
}

/// Nothing in the exchange contradicts the plan.
fn assert_true(exchange: &Exchange, plan: &Plan) {
    if exchange.complete {
        return assert_whole(exchange, plan);
    }
    for blame in ["pseudo-header", "does not exist", "was allowed", "field block", "Length is"] {
        let note = exchange.notes.iter().find(|note| note.to_string().contains(blame));
        let cut = ["bytes of the field block", "is not complete", "that was not seen"];
        let excused =
            note.is_none_or(|note| cut.iter().any(|excuse| note.to_string().contains(excuse)));
        assert!(excused, "an end is blamed: {:?}", exchange.notes);
    }
    let both = |a: Pairs, b: Pairs| [a, b].concat();
    if let Some(request) = &exchange.request {
        assert!(request.method.as_deref().is_none_or(|method| method == plan.method));
        assert!(request.path().is_none_or(|path| path == plan.path));
        assert!(request.pseudo_authority.as_deref().is_none_or(|a| a == plan.authority.as_bytes()));
        let message = &request.message;
        let all = both(plan.request.fields(), plan.request.trailer_fields());
        assert_part(&listed(&message.headers), &all);
        assert_part(&listed(&message.trailers), &plan.request.trailer_fields());
        assert_holed(&body(message), &plan.request.body());
    }
    if let Some(response) = &exchange.response {
        assert!(response.status.is_none_or(|status| status == plan.status.as_u16()));
        let message = &response.message;
        let mut all = both(plan.response.fields(), plan.response.trailer_fields());
        if response.status.is_none() {
            // The status is unknown, so the response may be interim.
            all = plan
                .interim
                .iter()
                .flat_map(|(_, fields)| h2_peers::pairs(fields))
                .chain(all)
                .collect();
        }
        assert_part(&listed(&message.headers), &all);
        assert_part(&listed(&message.trailers), &all);
        assert_holed(&body(message), &plan.response.body());
    }
}

fn assert_all_true(found: &[Exchange], plans: &[Plan]) {
    let by_stream: HashMap<u64, &Plan> = plans.iter().map(|p| (u64::from(p.stream), p)).collect();
    for exchange in found {
        assert_true(exchange, by_stream[&exchange.stream]);
    }
}

#[test]
fn joined_in_mid_stream_nothing_is_made_up() {
    let (mut planned, mut whole, mut seen) = (0, 0, 0);
    for seed in 200..240 {
        let (calls, plans) = conversation(seed);
        let mut random = Random(seed);
        for _ in 0..10 {
            let from = random.below(calls.len() as u64) as usize;
            let mut rest = calls[from..].to_vec();
            if random.one_in(2) {
                let cut = random.below(rest[0].1.len() as u64) as usize;
                rest[0].1.drain(..cut);
            }
            let found = exchanges(&script(&rest, true).joined());
            assert_all_true(&found, &plans);
            planned += plans.len() * (calls.len() - from) / calls.len();
            seen += found.len();
            whole += found.iter().filter(|exchange| exchange.complete).count();
        }
    }
    // Most that begins afterwards is found, and much of it known in full.
    assert!(seen * 10 > planned * 9 && whole * 10 > planned, "{seen} and {whole} of {planned}");
}

#[test]
fn after_a_gap_nothing_is_made_up() {
    let (mut planned, mut whole, mut seen) = (0, 0, 0);
    for seed in 300..340 {
        let (calls, plans) = conversation(seed);
        let mut random = Random(seed);
        for _ in 0..10 {
            let direction = if random.one_in(2) { Sent } else { Received };
            let len: usize =
                calls.iter().filter(|(d, _)| *d == direction).map(|(_, bytes)| bytes.len()).sum();
            let at = random.below(len as u64);
            let most = [30, 3000, 100_000][random.below(3) as usize];
            let hole = 1 + random.below(most);
            let found = exchanges(&script(&calls, true).without(direction, at, hole));
            assert_all_true(&found, &plans);
            planned += plans.len();
            seen += found.len();
            whole += found.iter().filter(|exchange| exchange.complete).count();
        }
    }
    assert!(seen * 10 > planned * 8 && whole * 10 > planned * 3, "{seen} and {whole} of {planned}");
}

#[test]
fn what_is_cut_at_its_end_is_a_part() {
    for seed in 400..410 {
        let (calls, plans) = conversation(seed);
        let mut random = Random(seed);
        for _ in 0..20 {
            let to = random.below(calls.len() as u64) as usize;
            let mut start = calls[..=to].to_vec();
            let cut = random.below(start[to].1.len() as u64) as usize;
            start[to].1.truncate(cut);
            let found = exchanges(&script(&start, false));
            assert_all_true(&found, &plans);
        }
    }
}
