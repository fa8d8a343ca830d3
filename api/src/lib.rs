//! What both sides of the protocol share: routes, names, identities, bodies and messages
//! (contract `api.md`).
//!
//! Server, command line, tests and benches take them from here, so each is defined once. Nothing
//! in this crate does input or output or knows what an operation does.

#![warn(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unreachable,
    reason = "requests come here; what cannot fail says why at its place"
)]

/// The table of all APIs.
pub mod route;

/// Names of keys and policies, and list patterns.
pub mod name;

/// SHA-256 of a client's public key.
pub mod identity;

/// What tells keys apart.
pub mod fingerprint;

/// Hexadecimal digits of both.
mod hex;

/// Public key and CA flag of a client's certificate.
pub mod certificate;

/// Request and response bodies.
pub mod body;

/// Byte strings that may be secret: base64 in JSON, wiped when dropped and when they grow.
pub mod bytes;

/// Lines of the audit stream and the error stream.
pub mod event;

/// Answers whose text clients compare.
pub mod message;

/// Characters that are not shown, or not as they are.
pub mod hidden;

/// Points in time as RFC 3339 text.
pub mod timestamp;

pub use bytes::SecretBytes;
pub use fingerprint::Fingerprint;
pub use identity::Identity;
pub use name::{KeyName, ListPattern, MAX_NAME_LEN, PolicyName};
pub use route::{Auth, Method, Operation, Route};
pub use timestamp::Timestamp;
