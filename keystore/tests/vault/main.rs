//! Vault, as a real OpenBao; and what a real one cannot do, from a small faulty server.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of #[test]")]

mod battery;
mod blip;
mod cluster;
mod content;
mod creators;
mod listing;
mod mount;
mod outage;
mod rights;
mod token;
mod transport;
mod world;
