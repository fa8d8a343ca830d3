//! Keys in a real Vault (OpenBao), as MinIO and its operator meet it (contract `vault.md`).

mod job;
mod stored;
mod work;
mod world;
