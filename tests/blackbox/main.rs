//! Black-box tests: real `lethe` processes, a project on disk, requests from outside.

mod actors;
mod bad_input;
mod durability;
mod examples;
mod forming;
mod isolation;
mod limits;
mod workers;
