//! Ways of sending and receiving that GnuTLS and NSS have and OpenSSL lacks, compared with the
//! programs' own account: every byte once, whichever function of the library transfers it.

use std::process::Command;

use crate::assert_truth::assert_recorded_once;
use crate::openssl_api::{both_ends_match_the_truth, command_matches_the_truth};
use crate::peers::build;
use crate::server::certificate;
use crate::support::Live;

fn gnutls(case: &str) {
    // OpenSSL's for the truth's hashes.
    let libraries = ["-lgnutls", "-lssl", "-lcrypto"];
    let program = build("gnutls_cases", &["gnutls_cases.c", "peer.c"], &libraries);
    command_matches_the_truth(&[], &[program, case.to_owned()]);
}

#[test]
fn what_is_sent_while_gnutls_is_corked() {
    gnutls("cork");
}

#[test]
fn messages_of_hidden_length() {
    gnutls("range");
}

#[test]
fn packets_that_gnutls_hands_over_without_a_copy() {
    gnutls("packet");
}

#[test]
fn early_data_of_gnutls() {
    gnutls("early");
}

#[test]
fn a_part_of_a_file_by_gnutls() {
    gnutls("file");
}

/// With databases in the test's folder. Files that the program reads by NSPR's functions, and those
/// of NSS itself, are no TLS.
fn nss(case: &str) {
    let Some(live) = Live::start() else { return };
    let folder = live.dir().to_str().unwrap().to_owned();
    certificate(&live, live.dir());
    let make = "openssl pkcs12 -export -in cert.pem -inkey key.pem -out both.p12 -passout pass: \
        -name localhost && certutil -N -d sql:. --empty-password && \
        pk12util -i both.p12 -d sql:. -W ''";
    live.succeed("sh", &["-c", &format!("cd {folder} && {make}")]);
    let flags = Command::new("pkg-config").args(["--cflags", "--libs", "nss"]).output().unwrap();
    let flags = String::from_utf8(flags.stdout).unwrap();
    let mut libraries: Vec<_> = flags.split_whitespace().collect();
    libraries.extend(["-lssl", "-lcrypto"]);
    let program = build("nss_cases", &["nss_cases.c", "peer.c"], &libraries);
    let command = [program, case.to_owned(), folder];
    if let Some((recorded, truth)) = both_ends_match_the_truth(&live, &[], &command) {
        assert_recorded_once(&live, &recorded, &truth);
    }
}

#[test]
fn several_buffers_by_pr_writev() {
    nss("writev");
}

#[test]
fn a_file_by_pr_transmit_file() {
    nss("transmit-file");
}

#[test]
fn a_part_of_a_file_by_pr_send_file() {
    nss("send-file");
}

#[test]
fn a_connection_by_pr_accept_read() {
    nss("accept-read");
}
