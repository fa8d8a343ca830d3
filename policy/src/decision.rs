use std::sync::Arc;

use kes_api::{Auth, Operation};

use crate::policy::Ruling;
use crate::{Denied, Policy};

/// What a caller is to a set of policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing<'p> {
    /// It has no identity.
    Nobody,
    /// Its identity is neither the admin nor in a policy.
    Unknown,
    /// It is in this policy.
    Policy(&'p Policy),
    /// It may do everything.
    Admin,
}

/// Why a request is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant<'p> {
    /// The API needs no identity.
    Open,
    /// The configuration exempts the API (`skip_auth`).
    Exempt,
    /// The API needs an identity, whichever.
    AnyIdentity,
    /// The caller is the admin.
    Admin,
    /// A policy allows it.
    Policy {
        /// That of the caller.
        policy: &'p Policy,
        /// The position of its first allow pattern that matches.
        allow: usize,
    },
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal<'p> {
    /// The path is not one of the operation.
    OtherPath {
        /// What was asked for.
        operation: Operation,
    },
    /// The caller has no identity, and the API needs one.
    NoIdentity,
    /// The identity is neither the admin nor in a policy.
    UnknownIdentity,
    /// No allow pattern of the policy matches.
    NotAllowed {
        /// That of the caller.
        policy: &'p Policy,
    },
    /// A deny pattern of the policy refuses it.
    Denied {
        /// That of the caller.
        policy: &'p Policy,
        /// The position of the pattern.
        deny: usize,
    },
}

/// Decides on an operation on what a decoded path names. This is the one place where it is decided:
/// for requests, which get a [`Permit`](crate::Permit), and for whoever wants to know why. A decision
/// permits nothing by itself. What the caller is, which takes a look at the policies, is asked only
/// if the API needs a policy. Nothing is allocated.
///
/// # Errors
/// Why it is refused.
pub(crate) fn decide<'p>(
    standing: impl FnOnce() -> Standing<'p>,
    is_exempt: bool,
    operation: Operation,
    path: &str,
) -> Result<Grant<'p>, Refusal<'p>> {
    let route = operation.route();
    let resource = route.resource(path).ok_or(Refusal::OtherPath { operation })?;
    match route.auth {
        Auth::None => Ok(Grant::Open),
        Auth::Policy if is_exempt => Ok(Grant::Exempt),
        Auth::Certificate => match standing() {
            Standing::Nobody => Err(Refusal::NoIdentity),
            _ => Ok(Grant::AnyIdentity),
        },
        Auth::Policy => match standing() {
            Standing::Nobody => Err(Refusal::NoIdentity),
            Standing::Unknown => Err(Refusal::UnknownIdentity),
            Standing::Admin => Ok(Grant::Admin),
            Standing::Policy(policy) => match policy.check(operation, path, resource) {
                Ruling::Allowed(allow) => Ok(Grant::Policy { policy, allow }),
                Ruling::Denied(deny) => Err(Refusal::Denied { policy, deny }),
                Ruling::Nothing => Err(Refusal::NotAllowed { policy }),
            },
        },
    }
}

/// With the texts that the log needs.
impl From<Refusal<'_>> for Denied {
    fn from(refusal: Refusal<'_>) -> Self {
        match refusal {
            Refusal::OtherPath { operation } => Self::OtherPath { operation },
            Refusal::NoIdentity => Self::NoIdentity,
            Refusal::UnknownIdentity => Self::UnknownIdentity,
            Refusal::NotAllowed { policy } => Self::NotAllowed { policy: policy.shared_name() },
            Refusal::Denied { policy, deny } => Self::DeniedBy {
                policy: policy.shared_name(),
                // It was a position in this list.
                pattern: policy
                    .deny_patterns()
                    .get(deny)
                    .map_or_else(|| Arc::from(""), |pattern| pattern.text()),
            },
        }
    }
}
