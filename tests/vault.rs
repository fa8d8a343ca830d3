//! Keys in a real Vault (OpenBao), as MinIO and its operator meet it (contract `vault.md`).

mod blip;
mod creators;
mod environment;
mod handover;
mod herd;
mod job;
mod late;
mod outage;
mod pins;
mod rights;
mod snapshot;
mod soak;
mod start;
mod stored;
mod traced;
mod work;
mod world;
