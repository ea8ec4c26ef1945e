//! Live tests: the real recorder on real programs, and what other people's tools say about the
//! files.
//!
//! Each test starts the programs that it traces itself, on loopback, and compares the capture
//! with a truth that comes from elsewhere: the file served, nginx's access log, or what the C
//! program under `testdata/peers` says that it sent and received. They want root and BTF; without
//! these a test says why and passes, except in CI, where it fails.
#![cfg(target_os = "linux")]
// Everything here is test code, support functions included, which clippy.toml does not cover.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod addresses;
mod bad_input;
mod browser;
mod cases;
mod choice;
mod ci;
mod coroutines;
mod coverage;
mod demo;
mod discovery;
mod failing_disk;
mod faults;
mod go;
mod go_peer;
mod h2_peer;
mod habits;
mod handshakes;
mod hard_cases;
mod hostile_names;
mod hyper_peer;
mod leftovers;
mod lifecycle;
mod listing;
mod loss;
mod matrix;
mod memory;
mod memory_bios;
mod nghttp2;
mod nginx;
mod oracle;
mod other_cases;
mod output;
mod over_http;
mod peers;
mod placement;
mod places;
mod pressure;
mod privileges;
mod python;
mod redact;
mod rotation;
mod server;
mod soak;
mod support;
mod symbols;
mod tiers;
mod trust;
mod truth;
mod two_ends;
