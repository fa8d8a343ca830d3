//! Vault, as a real OpenBao; and what a real one cannot do, from a small faulty server.

mod battery;
mod content;
mod creators;
mod outage;
mod token;
mod transport;
mod world;
