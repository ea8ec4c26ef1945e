//! The recorder on other kernels than that of the tests: Debian's 6.1 and 6.12, booted under an
//! emulator.
//!
//! The other tests force the methods of older kernels; this test shows that those kernels accept
//! the programs (each has a verifier of its own), that the recorder detects their features, and
//! that its files are right. The guest writes them, and the host reads them. These tests need qemu,
//! kernels to boot, and a minute for each, so that only `make test-kernels` runs them.

mod guest;

use std::path::PathBuf;

use crate::assert_truth::{assert_both_ends, assert_nothing_lost, assert_recorded_once};
use crate::go_peer::Build;
use crate::peers::{End, coroutines, tls_cases, truth};
use crate::support::{Live, Recorded, sha256};

use self::guest::{Case, Guest};

const CASES: [Case; 8] = [
    Case { name: "exchange", within: "", options: "", command: "tls_cases exchange" },
    Case { name: "coroutines", within: "", options: "", command: "coroutines all 4" },
    // Has BPF programs of its own.
    Case { name: "go", within: "", options: "", command: "go_peer_Debian exchange 2 3" },
    // The verifier leaves out code that no option enables: here it sees all of it.
    Case {
        name: "filtered",
        within: "unshare --fork --pid --mount-proc",
        options: "--uid 0 --comm tls_cases --cgroup / --snaplen 100000",
        command: "tls_cases prefork",
    },
    sockets("fentry", "--without sock-length"),
    sockets("kprobe", "--without sock-length,fentry"),
    sockets("rcv-space", "--without sock-length,fentry,kprobe"),
    sockets("oldest", "--without multi,cookie,sock-length,fentry,kprobe,rcv-space"),
];

/// Connections of each kind, recorded by a method of observing sockets.
const fn sockets(name: &'static str, options: &'static str) -> Case {
    Case { name, within: "", options, command: "tls_cases announced-and-not" }
}

/// A way to see sockets, and how addresses come to be known by it.
struct Way {
    case: &'static str,
    /// The recorder's name for the method.
    name: &'static str,
    /// Address quality of the connection whose descriptor was passed to the library.
    told: &'static str,
    /// Address quality of the connections over a socket that was not passed to the library.
    unannounced: &'static str,
    /// Of those where the program does the socket I/O around the calls.
    around: &'static str,
}

const WAYS: [Way; 4] = [
    Way {
        case: "fentry",
        name: "trampolines in socket functions (fentry)",
        told: "exact",
        unannounced: "exact",
        around: "inferred",
    },
    Way {
        case: "kprobe",
        name: "kprobes in socket functions",
        told: "exact",
        unannounced: "exact",
        around: "inferred",
    },
    Way {
        case: "rcv-space",
        name: "TCP's receive tracepoint",
        told: "exact",
        unannounced: "exact",
        around: "unknown",
    },
    Way {
        case: "oldest",
        name: "descriptors given to the library only",
        told: "exact",
        unannounced: "unknown",
        around: "unknown",
    },
];

/// Boots a kernel of this series, which must offer this, in the recorder's words.
fn records_on(series: &str, offers: [&str; 2]) {
    let kernels = std::env::var_os("SSLREC_KERNELS").expect("set by `make test-kernels`");
    let kernel = PathBuf::from(kernels).join(format!("vmlinuz-{series}"));
    let live = Live::elsewhere();
    let go = Build::Debian.peer().expect("installed by `make test-kernels`");
    let guest = Guest::run(&live, &kernel, &[tls_cases(), coroutines(), go], &CASES);
    assert!(guest.kernel.starts_with(&format!("{series}.")), "{}", guest.kernel);

    for case in CASES.iter().filter(|case| WAYS.iter().all(|way| way.case != case.name)) {
        println!("{} on {}", case.name, guest.kernel);
        let recorded = guest.recorded(case.name).succeeded();
        let truth = truth(&recorded.output.stdout).expect("the case runs everywhere");
        assert_both_ends(&live, &recorded, &truth);
        assert_recorded_once(&live, &recorded, &truth);
        // Its random bytes look to Wireshark like HTTP that is broken, now and then.
        if case.name != "go" {
            wireshark_sees(&live, &recorded, &truth);
        }
    }
    let said = guest.recorded("exchange").output.stderr;
    assert!(offers.iter().all(|offer| said.contains(offer)), "{said}");
    for way in WAYS {
        println!("{} on {}", way.case, guest.kernel);
        let recorded = guest.recorded(way.case).succeeded();
        let said = &recorded.output.stderr;
        assert!(said.contains(&format!("connection addresses come from {}", way.name)), "{said}");
        addresses_are_right(&live, &recorded, &way);
    }
}

/// Compares each end with the truth. Its address is known as well as the way has it, and if it is
/// known at all it is right.
fn addresses_are_right(live: &Live, recorded: &Recorded, way: &Way) {
    let truth = truth(&recorded.output.stdout).expect("the case runs everywhere");
    let listing = live.list(&recorded.raw, &["--bodies", "--both-ends"]);
    assert_nothing_lost(&listing);
    assert_eq!((truth.len(), listing.streams.len()), (10, 10));
    for stream in &listing.streams {
        let end = End::from_stream(stream);
        // The kinds of connections are distinguished by their clients' bytes.
        let known = match end.from_client.0 {
            1000 => way.told,
            1500 => way.unannounced,
            10045 => way.around,
            other => panic!("no client sent {other} bytes"),
        };
        assert_eq!(stream["addr"], known, "{end:?}");
        let is_of = |true_end: &End| {
            let bytes = |end: &End| (end.from_client.clone(), end.from_server.clone());
            let addresses = |end: &End| (end.client.clone(), end.server.clone());
            true_end.role == end.role
                && bytes(true_end) == bytes(&end)
                && (known == "unknown" || addresses(true_end) == addresses(&end))
        };
        assert!(truth.iter().any(is_of), "{end:?} is none of {truth:?}");
    }
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
#[ignore = "boots another kernel: make test-kernels"]
fn debian_12s_linux_6_1() {
    let sockets = "connection addresses come from trampolines in socket functions (fentry)";
    records_on("6.1", ["uprobes by single links, sites by cookie", sockets]);
}

#[test]
#[ignore = "boots another kernel: make test-kernels"]
fn linux_6_12() {
    let sockets = "connection addresses come from socket tracepoints (kernel 6.3)";
    records_on("6.12", ["uprobes by one link per file, sites by cookie", sockets]);
}
