//! Tests of the places that must be found, and of the functions that must be refused.
//!
//! `corpus` contains functions of real libraries, `chosen` small functions that are made to
//! mislead, `random` any number of others, each of which is run by the interpreter in `machine`.

mod chosen;
mod corpus;
mod machine;
mod random;
