//! The key store in Vault, tested with a real OpenBao, and with a faulty stub for faults that a
//! real server cannot make.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of #[test]")]

mod battery;
mod blip;
mod cluster;
mod content;
mod creators;
mod listing;
mod login;
mod mount;
mod order;
mod outage;
mod rights;
mod transport;
mod world;
