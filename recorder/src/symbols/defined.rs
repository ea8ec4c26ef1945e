//! A probed function as one file defines it.

use super::sites::Sites;
use crate::functions::{Family, Function, function};

/// A function of the table, in the file that defines it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Defined {
    /// Index into the table of functions.
    pub(crate) index: u16,
    /// Place of its first byte in the file.
    pub(crate) offset: u64,
    /// The places to probe it, or the reason why only its first byte and its return can be probed.
    pub(crate) sites: Result<Sites, String>,
    family: Family,
    function: &'static Function,
}

impl Defined {
    /// Returns the function with this index in the table; `None` if there is none.
    pub(crate) fn new(index: u16, offset: u64, sites: Result<Sites, String>) -> Option<Self> {
        let (family, function) = function(index)?;
        Some(Self { index, offset, sites, family, function })
    }

    pub(crate) fn function(&self) -> &'static Function {
        self.function
    }

    pub(crate) fn family(&self) -> Family {
        self.family
    }
}
