//! Compiles the BPF objects into `OUT_DIR`, and makes a Rust skeleton of `bpf/sslrec.bpf.c`. Does
//! nothing for targets other than Linux on x86-64: there the recorder does not compile, and its
//! error states the reason.

use std::env;
use std::path::PathBuf;

use libbpf_cargo::SkeletonBuilder;

fn main() {
    println!("cargo:rerun-if-changed=bpf");
    let is_target = |name: &str, value: &str| env::var(name).as_deref() == Ok(value);
    if !is_target("CARGO_CFG_TARGET_OS", "linux") || !is_target("CARGO_CFG_TARGET_ARCH", "x86_64") {
        return;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let built = builder("sslrec")
        .build_and_generate(out.join("sslrec.skel.rs"))
        .and_then(|()| builder("sockets").obj(out.join("sockets.bpf.o")).build())
        .and_then(|()| builder("go").obj(out.join("go.bpf.o")).build());
    if let Err(error) = built {
        eprintln!("{error:?}");
        eprintln!("compiling the BPF objects needs clang 14 or later (Debian: apt install clang)");
        std::process::exit(1);
    }
}

fn builder(object: &str) -> SkeletonBuilder {
    let mut builder = SkeletonBuilder::new();
    builder.source(format!("bpf/{object}.bpf.c")).clang_args(["-Wall", "-Werror", "-Ibpf"]);
    builder
}
