//! Consistency harness: drives real servers through their public API while it breaks them, records what every client
//! was told, and checks that the record could have come from one object that does one thing at a time.
//!
//! A verdict is *valid*, *violation* (with a smallest counter-example) or *unknown*. A run that proves nothing, because
//! too little happened or a checker ran out of time, is unknown and never valid.
#![warn(missing_docs)]

pub mod aim;
pub mod check;
pub mod cluster;
pub mod door;
pub mod generate;
pub mod history;
pub mod model;
pub mod mutants;
pub mod nemesis;
pub mod run;
pub mod verdict;
pub mod workload;
