//! Live tests: the real recorder on real programs, and other people's tools on the files.
//!
//! Each test starts the programs that it traces itself, on loopback, and compares the capture with
//! a truth from elsewhere: the served file, nginx's access log, or the output of the C program
//! under `testdata/peers` about its sent and received bytes. They need root and BTF; without these
//! a test prints the reason and passes, except in CI, where it fails.
#![cfg(target_os = "linux")]
// Everything here is test code, support functions included, which clippy.toml does not cover.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod account;
mod addresses;
mod assert_truth;
mod bad_input;
mod browser;
mod ci;
mod cleanup;
mod coroutines;
mod coverage;
mod demo;
mod discovery;
mod edge_cases;
mod failing_disk;
mod faults;
mod filters;
mod gnutls_nss_api;
mod go;
mod go_peer;
mod h2_peer;
mod handshakes;
mod hostile_names;
mod hyper_peer;
mod kernels;
mod lifecycle;
mod listing;
mod loss;
mod lost_messages;
mod matrix;
mod memory;
mod memory_bios;
mod namespaces;
mod nghttp2;
mod nginx;
mod old_kernels;
mod openssl_api;
mod oracle;
mod output;
mod over_http;
mod peers;
mod placement;
mod pressure;
mod privileges;
mod python;
mod quic;
mod redact;
mod rotation;
mod server;
mod soak;
mod support;
mod symbols;
mod trust;
mod two_ends;
mod unix_manners;
mod unprobed;
