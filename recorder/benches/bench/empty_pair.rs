//! The reference for uprobe tools: programs that do nothing, at entry and return of `SSL_read` and
//! `SSL_write`. Attached by one link, as in `sslrec`, which requires kernel 6.6.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use libbpf_rs::{Link, Object, ObjectBuilder, UprobeMultiOpts};
use object::{Object as _, ObjectSegment, ObjectSymbol};

use crate::command::succeed;
use crate::setup::Setup;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/recorder/benches/bench/empty.bpf.c");

/// The functions that the pair is attached to: all that `tls_cases bench-bio` and nginx call for
/// their data.
const FUNCTIONS: [&str; 2] = ["SSL_read", "SSL_write"];

/// Attached until dropped.
pub(crate) struct EmptyPair {
    _links: Vec<Link>,
    _programs: Object,
}

impl EmptyPair {
    /// Attaches the pair to every process that uses the private copy of libssl.
    pub(crate) fn attach(setup: &Setup) -> Result<Self> {
        let object = setup.path("empty.bpf.o");
        if !object.exists() {
            let mut clang = Command::new("clang");
            clang.args(["-O2", "-g", "-Wall", "-Werror", "-target", "bpf", "-c", SOURCE, "-o"]);
            succeed(clang.arg(&object))?;
        }
        let programs = ObjectBuilder::default().open_file(&object)?.load()?;
        let library = setup.libssl();
        let offsets = function_offsets(&library)?;
        let links = programs
            .progs_mut()
            .map(|program| {
                let options = UprobeMultiOpts {
                    offsets: offsets.clone(),
                    retprobe: program.name() == "on_return",
                    ..UprobeMultiOpts::default()
                };
                program
                    .attach_uprobe_multi_with_opts(-1, &library, "", options)
                    .context("cannot attach the empty pair; one link for many wants kernel 6.6")
            })
            .collect::<Result<Vec<_>>>()?;
        if links.len() != 2 {
            bail!("{} programs in the empty pair", links.len());
        }
        Ok(Self { _links: links, _programs: programs })
    }
}

/// Returns places in the file, in the kernel's form.
fn function_offsets(library: &Path) -> Result<Vec<usize>> {
    let data = fs::read(library)?;
    let elf = object::File::parse(&*data)?;
    FUNCTIONS
        .iter()
        .map(|&name| {
            let address = elf
                .dynamic_symbols()
                .find(|symbol| symbol.is_definition() && symbol.name() == Ok(name))
                .with_context(|| format!("{} has no {name}", library.display()))?
                .address();
            let offset = elf.segments().find_map(|segment| {
                let (start, len) = segment.file_range();
                let within = address.checked_sub(segment.address())?;
                (within < len).then_some(start + within)
            });
            Ok(usize::try_from(offset.with_context(|| format!("{name} is in no segment"))?)?)
        })
        .collect()
}
