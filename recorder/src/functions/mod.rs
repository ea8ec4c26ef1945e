//! The tables of TLS libraries and of their functions. A library is a file with one row and its
//! functions, and an entry in [`LIBRARIES`].
//!
//! A function's row becomes the `struct site` of its probes (see `bpf/event.h`). The index of a
//! row, counted over the functions of all libraries, is in each event and names the function in the
//! files.

mod function;
mod gnutls;
mod go;
mod library;
mod mbedtls;
mod named_file;
mod nss;
mod openssl;
mod s2n;
mod site;
mod wolfssl;

use std::fmt;

pub(crate) use self::function::{Count, Fd, Function, Kind, Output, Side};
pub(crate) use self::library::{Family, Library};
pub(crate) use self::named_file::NamedFile;
use crate::kernel::skel::types;

/// The libraries, in the order of the indexes of their functions.
pub(crate) const LIBRARIES: [&Library; 7] = [
    &openssl::LIBRARY,
    &gnutls::LIBRARY,
    &nss::LIBRARY,
    &wolfssl::LIBRARY,
    &mbedtls::LIBRARY,
    &s2n::LIBRARY,
    &go::LIBRARY,
];

// `Family::library` relies on this.
const _: () = {
    let mut index = 0;
    while index < LIBRARIES.len() {
        assert!(LIBRARIES[index].family as usize == index);
        index += 1;
    }
};

impl Family {
    /// Returns its row in the table.
    pub(crate) fn library(self) -> &'static Library {
        LIBRARIES[self as usize]
    }

    /// Returns all of them.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        LIBRARIES.iter().map(|library| library.family)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.library().name)
    }
}

/// Returns the library that `--lib KIND:PATH` calls by this name.
///
/// # Errors
/// There is none; the message lists the known names.
pub(crate) fn library_of_kind(kind: &str) -> Result<Family, String> {
    let library = LIBRARIES.iter().find(|library| library.kinds.contains(&kind));
    library.map(|library| library.family).ok_or_else(|| {
        format!("unknown kind `{kind}`; known: {}", kinds().collect::<Vec<_>>().join(", "))
    })
}

/// Returns the names for `--lib KIND:PATH`.
pub(crate) fn kinds() -> impl Iterator<Item = &'static str> {
    LIBRARIES.iter().flat_map(|library| library.kinds).copied()
}

/// Returns the functions of all libraries, in the order of their indexes.
pub(crate) fn all() -> impl Iterator<Item = (Family, &'static Function)> {
    LIBRARIES
        .iter()
        .flat_map(|library| library.functions.iter().map(move |row| (library.family, row)))
}

/// Returns the function with this index, as used in events.
pub(crate) fn function(index: u16) -> Option<(Family, &'static Function)> {
    let mut rest = usize::from(index);
    for library in LIBRARIES {
        match library.functions.get(rest) {
            Some(row) => return Some((library.family, row)),
            None => rest -= library.functions.len(),
        }
    }
    None
}

/// Returns the name of the function with this index.
pub(crate) fn name_of(index: u16) -> &'static str {
    function(index).map_or("?", |(_, function)| function.name)
}

/// Returns the index of the function with this name.
pub(crate) fn index_of(name: &str) -> Option<u16> {
    let place = all().position(|(_, function)| function.name == name)?;
    u16::try_from(place).ok()
}

/// Returns the site for the kernel side: the properties of the function with this index in one
/// probed file.
pub(crate) fn site(index: u16, lib: u16) -> types::site {
    let site = types::site { func: index, lib, ..types::site::default() };
    function(index).map_or(site, |(_, row)| site::of(row, site))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sslrec_formats::record::Direction;

    #[test]
    fn every_library_has_a_kind_of_its_own() {
        for library in LIBRARIES {
            assert_eq!(library_of_kind(library.kinds[0]), Ok(library.family), "{library}");
            assert_eq!(library.option, format!("no-{}", library.kinds[0]));
        }
        let mut all: Vec<_> = kinds().collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), kinds().count());
        assert!(library_of_kind("tls").unwrap_err().contains("known: openssl, boringssl, gnutls"));
    }

    #[test]
    fn names_are_unique() {
        let names: Vec<_> = all().map(|(_, function)| function.name).collect();
        for (i, name) in names.iter().enumerate() {
            assert!(!names[..i].contains(name), "{name}");
        }
    }

    #[test]
    fn indexes_go_over_all_tables() {
        for (index, (family, row)) in all().enumerate() {
            let (same_family, same_row) = function(index as u16).unwrap();
            assert_eq!(same_family, family);
            assert_eq!(same_row.name, row.name);
            assert_eq!(name_of(index as u16), row.name);
        }
        assert!(function(all().count() as u16).is_none());
        assert_eq!(name_of(u16::MAX), "?");
    }

    #[test]
    fn every_library_reads_and_writes() {
        for library in LIBRARIES {
            for wanted in Direction::BOTH {
                let is_it =
                    |row: &Function| matches!(row.kind, Kind::Data(dir, _) if dir == wanted);
                assert!(library.functions.iter().any(is_it), "{library} {wanted}");
            }
        }
    }
}
