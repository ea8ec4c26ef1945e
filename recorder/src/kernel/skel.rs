//! The generated skeleton of `bpf/sslrec.bpf.c`: how to load it, and its types.

#![allow(missing_docs, unreachable_pub, warnings, clippy::all, clippy::pedantic)]

include!(concat!(env!("OUT_DIR"), "/sslrec.skel.rs"));
