//! What must be placed where, and what must be refused: `random` makes any number of functions,
//! each of which is run by the interpreter in `machine`.

mod machine;
mod random;
