//! Who may do what (contract `config.md`, Policies). No input or output happens here.
//!
//! The rule: a request is allowed if it comes from the admin, or if the policy of its identity has
//! no deny pattern and at least one allow pattern that matches the decoded path. The configuration
//! may exempt an API from the rule. A deny pattern refuses a power, not a path: it also refuses the
//! other operations that give the same on the same resource. The result is a [`Permit`] for one operation on one resource,
//! which all operations on keys require and check, or a [`Denied`], whose text is only for the log:
//! the client gets the same answer whatever the reason.
//!
//! A policy may also state [`Limits`] for each of its identities. The numbers are here; who keeps to
//! them is the server.

#![warn(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unreachable,
    reason = "requests come here; what cannot fail says why at its place"
)]

/// What a path is compared with.
mod pattern;

/// Why a request is refused.
mod denied;

/// What an operation lets its caller do.
mod power;

/// A named set of patterns, and the rule.
mod policy;

/// The decision on a request.
mod decision;

/// Why a decision is as it is, and what would change it.
mod explanation;

/// The policies of a server: identity to policy, and the admin.
mod policies;

/// The proof that an operation was allowed.
mod permit;

/// What a trace is told of calls to the key store.
mod trace;

/// How much one identity may ask for.
mod limits;

/// In what one set of policies differs from another.
mod changes;

/// Patterns and policies that their author surely did not mean.
mod lint;

pub use changes::{Changes, PatternChange, PolicyChange, Role};
pub use decision::{Grant, Refusal, Standing};
pub use denied::Denied;
pub use explanation::{Change, Denial, Explanation, allow_pattern};
pub use limits::{Limit, LimitSettings, Limits, StoreLimit, StoreLimited};
pub use lint::{Lint, Place, lint};
pub use pattern::Pattern;
pub use permit::{Permit, StartupPermit, StoreGate, StorePlace, WrongPermit};
pub use policies::{Conflict, Policies};
pub use policy::Policy;
pub use trace::{StoreCall, StoreTrace};
