//! The words that both sides of the protocol say: routes, names, identities, bodies and messages.
//!
//! Server, command line, tests and benches all take them from here, so that the contract
//! (`api.md`) is spelled once. Nothing in this crate does input or output, and nothing here
//! knows what an operation does.

/// The table of all APIs.
pub mod route;

/// Key and policy names and list patterns: parsed or refused.
pub mod name;

/// SHA-256 of a client's public key.
pub mod identity;

/// The little that is read of a client's certificate.
pub mod certificate;

/// Request and response bodies.
pub mod body;

/// Byte strings that may be secret: base64 outside, wiped inside.
pub mod bytes;

/// Lines of the audit and of the error stream.
pub mod event;

/// Answers whose text clients compare.
pub mod message;

/// Points in time as RFC 3339 text.
pub mod timestamp;

pub use bytes::SecretBytes;
pub use identity::Identity;
pub use name::{KeyName, ListPattern, PolicyName};
pub use route::{Auth, Method, Operation, Route};
pub use timestamp::Timestamp;
