//! Compiles `bpf/sslrec.bpf.c` and makes its Rust skeleton in `OUT_DIR`. Does nothing when the
//! target is not Linux: there the recorder does not compile, and says why.

use std::env;
use std::path::PathBuf;

use libbpf_cargo::SkeletonBuilder;

fn main() {
    println!("cargo:rerun-if-changed=bpf");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    if let Err(error) = SkeletonBuilder::new()
        .source("bpf/sslrec.bpf.c")
        .clang_args(["-Wall", "-Werror", "-Ibpf"])
        .build_and_generate(out.join("sslrec.skel.rs"))
    {
        eprintln!("{error:?}");
        eprintln!("compiling bpf/sslrec.bpf.c needs clang 14 or later (Debian: apt install clang)");
        std::process::exit(1);
    }
}
