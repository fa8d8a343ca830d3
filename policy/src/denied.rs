use std::sync::Arc;

use kes_api::Operation;

/// Why a request is refused. The texts are for the log; the client gets the same answer for all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The caller showed no identity, and the operation needs one.
    #[error("no identity")]
    NoIdentity,

    /// A bug: what was asked for is not what the path stands for.
    #[error("the path is not one of the operation {operation:?}")]
    OtherPath {
        /// What was asked for.
        operation: Operation,
    },

    /// The identity is neither admin nor in a policy.
    #[error("unknown identity")]
    UnknownIdentity,

    /// No allow pattern of the policy matches.
    #[error("policy '{}' does not allow it", policy.escape_debug())]
    NotAllowed {
        /// The policy of the identity.
        policy: Arc<str>,
    },

    /// A deny pattern matches.
    #[error("policy '{}' denies it by '{}'", policy.escape_debug(), pattern.escape_debug())]
    DeniedBy {
        /// The policy of the identity.
        policy: Arc<str>,
        /// The pattern as it was written.
        pattern: Arc<str>,
    },
}
