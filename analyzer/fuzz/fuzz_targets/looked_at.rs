//! Everything that the listing shows as the value of a header field, a target or content was looked
//! at by the redactor. Input: a byte that states whether the connection was joined, then steps as
//! in `tests/looked_at`.
#![no_main]

#[path = "../../tests/looked_at/mod.rs"]
mod looked_at;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&setup, rest)) = input.split_first() else { return };
    looked_at::check(&looked_at::steps(rest), setup & 1 != 0);
});
