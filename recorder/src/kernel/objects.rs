//! Objects of BPF programs besides `bpf/sslrec.bpf.c`, which not every kernel accepts or not every
//! recording needs. They use the same maps, its settings included.

use std::collections::HashMap;
use std::os::fd::AsFd;

use anyhow::{Result, bail};
use libbpf_rs::{MapCore, Object, ObjectBuilder, OpenProgramMut};

/// Loads an object that shares the maps of the first object, which is already loaded. `prepare` is
/// called with each program before.
///
/// # Errors
/// The kernel refuses a program.
pub(crate) fn load(
    image: &[u8],
    first: &Object,
    mut prepare: impl FnMut(&mut OpenProgramMut<'_>),
) -> Result<Object> {
    let maps: HashMap<_, _> = first.maps().map(|map| (map.name().to_owned(), map)).collect();
    let mut builder = ObjectBuilder::default();
    // libbpf derives the names of the maps of variables from it.
    if let Some(name) = first.name().and_then(|name| name.to_str()) {
        builder.name(name)?;
    }
    let mut open = builder.open_memory(image)?;
    for mut map in open.maps_mut() {
        let name = map.name().to_owned();
        match maps.get(&name) {
            Some(shared) if shared.value_size() == map.value_size() => {
                map.reuse_fd(shared.as_fd())?;
            }
            _ => bail!("the map {} is not that of the first object", name.display()),
        }
    }
    open.progs_mut().for_each(|mut program| prepare(&mut program));
    Ok(open.load()?)
}
