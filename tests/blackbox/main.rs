//! Black-box tests: a real `lethe dev` process, a project on disk, requests from outside.

mod actors;
mod bad_input;
mod durability;
mod examples;
mod isolation;
mod limits;
mod workers;
