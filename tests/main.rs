//! Black-box tests: they speak TLS and the command line to the built program, and import no type
//! of the server. A module a section of the contract.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;

mod api;
mod audit;
mod authz;
#[cfg(not(feature = "fips"))] // such a build makes none
mod backup;
mod cache;
mod check;
mod cli;
mod config;
mod distributed;
mod docs;
#[cfg(feature = "fips")]
mod fips;
mod folder;
mod image;
mod keys_at_rest;
mod kills;
mod kubernetes;
mod last_use;
mod layout;
mod lifecycle;
mod logs;
mod migrate;
mod minio;
mod monitoring;
mod operations;
mod packages;
mod pins;
mod proxies;
mod proxy_protocol;
mod secrets;
mod shadow;
mod snapshot;
mod traces;
mod two_stores;
mod vault;
