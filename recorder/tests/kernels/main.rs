//! The recorder on other kernels than the one that runs the tests: Debian's 6.1 and 6.12, booted
//! under an emulator.
//!
//! The other tests force the ways that older kernels leave; this one shows that those kernels take
//! the programs (each has a verifier of its own), that the recorder sees what they offer, and that
//! its files are right. They are made in the guest and looked at here. `make test-kernels` runs it;
//! it has a program of its own, since it wants qemu, kernels to boot, and a minute for each.
#![cfg(target_os = "linux")]
// Everything here is test code, support functions included, which clippy.toml does not cover.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod guest;
// Written for the live tests, which use all of it.
#[allow(dead_code)]
#[path = "../live/listing.rs"]
mod listing;
#[allow(dead_code)]
#[path = "../live/peers.rs"]
mod peers;
#[allow(dead_code)]
#[path = "../live/support.rs"]
mod support;
#[path = "../live/truth.rs"]
mod truth;

use std::path::PathBuf;

use crate::guest::{Case, Guest};
use crate::peers::{End, coroutines, tls_cases, truth};
use crate::support::{Live, Recorded, sha256};
use crate::truth::{assert_both_ends, assert_recorded_once};

const CASES: [Case; 4] = [
    Case { name: "exchange", within: "", options: "", command: "tls_cases exchange" },
    Case { name: "coroutines", within: "", options: "", command: "coroutines all 4" },
    // The verifier leaves out what no option asks for: here it sees all of it.
    Case {
        name: "filtered",
        within: "unshare --fork --pid --mount-proc",
        options: "--uid 0 --comm tls_cases --cgroup / --snaplen 100000",
        command: "tls_cases prefork",
    },
    Case {
        name: "oldest",
        within: "",
        options: "--without multi,cookie,sock-length",
        command: "tls_cases exchange",
    },
];

/// Boots a kernel of this series, which must offer this, in the recorder's words.
fn records_on(series: &str, offers: &str) {
    let kernels = std::env::var_os("SSLREC_KERNELS").expect("set by `make test-kernels`");
    let kernel = PathBuf::from(kernels).join(format!("vmlinuz-{series}"));
    let live = Live::elsewhere();
    let guest = Guest::run(&live, &kernel, &[tls_cases(), coroutines()], &CASES);
    assert!(guest.kernel.starts_with(&format!("{series}.")), "{}", guest.kernel);

    let sees_sockets = offers.contains("socket operation");
    for case in &CASES {
        println!("{} on {}", case.name, guest.kernel);
        let recorded = guest.recorded(case.name).succeeded();
        let mut truth = truth(&recorded.output.stdout).expect("the case runs everywhere");
        if case.name == "coroutines" && !sees_sockets {
            // Its clients give the library no descriptor, so that their addresses are inferred at best,
            // and which ends pair up differs.
            truth.iter_mut().for_each(|end| (end.client, end.server) = (None, None));
            assert_both_ends(&live, &recorded, &truth);
            continue;
        }
        assert_both_ends(&live, &recorded, &truth);
        assert_recorded_once(&live, &recorded, &truth);
        wireshark_sees(&live, &recorded, &truth);
    }
    let said = guest.recorded("exchange").output.stderr;
    assert!(said.contains(offers), "{said}");
}

/// Holds the pcapng against the truth with no tool of ours: the payload of each connection whose
/// address is known, and nothing that is odd about it.
fn wireshark_sees(live: &Live, recorded: &Recorded, truth: &[End]) {
    let odd = "_ws.malformed || tcp.analysis.flags || tcp.checksum.status == 0";
    let odd = live.tshark_fields(&recorded.pcapng, odd, "frame.number");
    assert_eq!(odd, <[&str; 0]>::default());
    for end in truth.iter().filter(|end| end.role == "client") {
        let Some((_, port)) = end.client.as_ref().and_then(|client| client.rsplit_once(':')) else {
            continue;
        };
        for (direction, sent) in [("srcport", &end.from_client), ("dstport", &end.from_server)] {
            let filter = format!("tcp.{direction} == {port} && tcp.len > 0");
            let payload = live.tshark_fields(&recorded.pcapng, &filter, "tcp.payload").concat();
            let byte = |digits: &[u8]| {
                u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap()
            };
            let payload: Vec<u8> = payload.as_bytes().chunks(2).map(byte).collect();
            assert_eq!((payload.len() as u64, sha256(&payload)), *sent, "tcp.{direction} {port}");
        }
    }
}

#[test]
fn debian_12s_linux_6_1() {
    records_on("6.1", "uprobes by single links, sites by cookie, addresses by descriptor only");
}

#[test]
fn linux_6_12() {
    records_on(
        "6.12",
        "uprobes by one link a file, sites by cookie, \
         addresses by socket operation or descriptor",
    );
}
