use std::fmt;

use http::StatusCode;

use super::body::BadBody;
use crate::Error;
use crate::wrap::Monitor;

/// What a store says in an answer that is not 2xx.
pub(crate) trait Refusal: Clone + fmt::Debug + Send + Sync {
    /// Parses the body of such an answer. No text of the result may show anything of it but words
    /// that are known, because the server may repeat a secret of the request, and `name`.
    fn parse(body: &[u8], name: Option<&str>) -> Self;

    /// The text of the error, for the log.
    fn describe(&self, endpoint: &str, status: StatusCode) -> String;

    /// Whether the request was certainly not carried out, and may be carried out later or by
    /// another node.
    fn is_not_done(&self, status: StatusCode) -> bool;

    /// Whether the store says that it serves nobody until an operator opens it, such as a sealed
    /// Vault.
    fn is_closed(&self, status: StatusCode) -> bool;
}

/// Why a request to a store failed. No text holds a secret.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Fault<R: Refusal> {
    /// There is no connection: nothing was sent.
    #[error("no connection to {endpoint}: {reason}")]
    NoConnection { endpoint: String, reason: String },

    /// The TLS handshake failed because of a certificate, the server's or ours: nothing was sent, and
    /// it fails again until an operator changes a certificate or what is trusted.
    #[error("no connection to {endpoint}: {reason}")]
    Untrusted { endpoint: String, reason: String },

    /// The request was sent, and no complete answer came back: it may have been carried out.
    #[error("no answer from {endpoint}: {reason}")]
    NoAnswer { endpoint: String, reason: String },

    /// An answer that is not 2xx.
    #[error("{}", refusal.describe(endpoint, *status))]
    Refused { endpoint: String, status: StatusCode, refusal: R },

    /// No node of several did what was asked: the fault of the last, the texts of the others, and
    /// whether one of them may do it a little later.
    #[error("{last}; before that, {others}")]
    Several { last: Box<Self>, others: String, may_pass: bool },

    /// A 2xx answer that cannot be used.
    #[error("the answer of {endpoint} cannot be used: {reason}")]
    BadAnswer { endpoint: String, reason: String },

    /// A redirect that is not followed.
    #[error(
        "{endpoint} redirects to {target}, and {reason}; what it names is not shown here, because it \
         may repeat a secret: `curl -sI {endpoint}` shows it"
    )]
    Redirected { endpoint: String, target: String, reason: &'static str },

    /// There is no valid token or signature to send the request with.
    #[error("{reason}")]
    Login { reason: String, reachable: bool, may_pass: bool },
}

impl<R: Refusal> Fault<R> {
    pub(crate) fn bad_answer(endpoint: &str, body: BadBody) -> Self {
        Self::BadAnswer { endpoint: endpoint.to_owned(), reason: body.to_string() }
    }

    /// The status of an answer that is not 2xx.
    pub(crate) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::Several { last, .. } => last.status(),
            Self::NoConnection { .. }
            | Self::Untrusted { .. }
            | Self::NoAnswer { .. }
            | Self::BadAnswer { .. }
            | Self::Redirected { .. }
            | Self::Login { .. } => None,
        }
    }

    pub(crate) fn is_forbidden(&self) -> bool {
        self.status() == Some(StatusCode::FORBIDDEN)
    }

    /// Whether the request may have been carried out although it failed.
    pub(crate) fn is_unsure(&self) -> bool {
        match self {
            Self::NoAnswer { .. } | Self::BadAnswer { .. } => true,
            Self::Refused { status, .. } => status.is_server_error() && !self.is_not_done(),
            Self::Several { last, .. } => last.is_unsure(),
            Self::NoConnection { .. }
            | Self::Untrusted { .. }
            | Self::Redirected { .. }
            | Self::Login { .. } => false,
        }
    }

    /// Whether the request was certainly not carried out, and may be carried out later or by
    /// another node.
    pub(crate) fn is_not_done(&self) -> bool {
        match self {
            Self::NoConnection { .. } | Self::Untrusted { .. } => true,
            Self::Several { last, .. } => last.is_not_done(),
            Self::Login { may_pass, .. } => *may_pass,
            Self::Refused { status, refusal, .. } => refusal.is_not_done(*status),
            Self::NoAnswer { .. } | Self::BadAnswer { .. } | Self::Redirected { .. } => false,
        }
    }

    /// Whether the same request may succeed a little later without any change by an operator: the
    /// store is away, being started or moved, or overloaded.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::NoConnection { .. } | Self::NoAnswer { .. } => true,
            Self::Several { may_pass, .. } | Self::Login { may_pass, .. } => *may_pass,
            Self::Refused { status, .. } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
            Self::Untrusted { .. } | Self::BadAnswer { .. } | Self::Redirected { .. } => false,
        }
    }

    /// Whether another endpoint may carry the request out, if it is safe to repeat.
    pub(super) fn may_be_of_the_node(&self) -> bool {
        matches!(self, Self::NoAnswer { .. } | Self::BadAnswer { .. })
            || self.status().is_some_and(|status| status.is_server_error())
    }

    /// Whether the store gives no answer, or says that it serves nobody.
    pub(crate) fn is_unreachable(&self) -> bool {
        match self {
            Self::NoConnection { .. } | Self::Untrusted { .. } | Self::NoAnswer { .. } => true,
            Self::Refused { status, refusal, .. } => refusal.is_closed(*status),
            Self::Several { last, .. } => last.is_unreachable(),
            Self::Login { reachable, .. } => !reachable,
            Self::BadAnswer { .. } | Self::Redirected { .. } => false,
        }
    }

    /// Adds what the fault of a call tells of the store's health to what is known of it.
    pub(crate) fn note(&self, health: &Monitor) {
        if self.may_pass() {
            health.note_setback();
        } else if self.status().is_some() {
            // A refusal is an answer.
            health.note_refusal();
        }
        if self.is_unreachable() {
            health.note_unreachable();
        } else if self.status().is_some_and(|status| status.is_server_error()) {
            // The fault may be of this call alone: a check finds out.
            health.note_doubt();
        }
    }

    /// The error of the key store, for a fault that has nothing to do with the key.
    pub(crate) fn into_error(self) -> Error {
        let reason = self.to_string();
        if self.is_unreachable() {
            Error::Unreachable { reason }
        } else {
            Error::Unavailable { reason }
        }
    }
}
