//! What must be placed where, and what must be refused.
//!
//! `corpus` holds functions of real libraries, `chosen` small ones that are made to mislead,
//! `random` any number of others, each of which is run by the interpreter in `machine`.

mod chosen;
mod corpus;
mod machine;
mod random;
