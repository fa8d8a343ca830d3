//! Black-box tests: they speak TLS and the command line to the built program, and import no type
//! of the server. A module a section of the contract.

mod harness;

mod api;
mod cli;
