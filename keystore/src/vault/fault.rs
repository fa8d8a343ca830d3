/// What Vault says of an error.
mod detail;

use http::StatusCode;

use self::detail::Condition;
pub(super) use self::detail::{Detail, clean};
use super::asked::{Asked, Capability, Space};
use super::body::BadBody;
use super::client::Call;
use crate::Error;

/// Why a call to Vault did not do as asked. No text holds a secret.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Fault {
    /// There is no connection: nothing was sent.
    #[error("no connection to {endpoint}: {reason}")]
    NoConnection { endpoint: String, reason: String },

    /// The TLS handshake failed because of a certificate, Vault's or ours: nothing was sent, and
    /// it fails again until somebody changes a certificate or what is trusted.
    #[error("no connection to {endpoint}: {reason}")]
    Untrusted { endpoint: String, reason: String },

    /// The request went out, and no whole answer came back: it may have been carried out.
    #[error("no answer from {endpoint}: {reason}")]
    NoAnswer { endpoint: String, reason: String },

    /// An answer that is not 2xx.
    #[error("{}", refusal(endpoint, *status, asked, detail))]
    Refused { endpoint: String, status: StatusCode, asked: Asked, detail: Detail },

    /// None of several nodes did it: the last of them, what the others said, and whether one of
    /// them may do it a little later.
    #[error("{last}; before that, {others}")]
    Several { last: Box<Self>, others: String, may_pass: bool },

    /// An answer that is 2xx and makes no sense.
    #[error("the answer of {endpoint} cannot be used: {reason}")]
    BadAnswer { endpoint: String, reason: String },

    /// A redirect that is not followed.
    #[error("{endpoint} redirects to {target}, and {reason}")]
    Redirected { endpoint: String, target: String, reason: &'static str },

    /// No token could be had.
    #[error("login to Vault by {method} failed: {reason}")]
    Login { method: &'static str, reason: String, reachable: bool, may_pass: bool },
}

/// The text of a refusal. What a node says of itself has nothing to do with what it was asked.
fn refusal(endpoint: &str, status: StatusCode, asked: &Asked, detail: &Detail) -> String {
    match detail.condition {
        Some(condition) if status.is_server_error() => format!("{endpoint} {condition}"),
        _ => {
            let advice = asked.advice(status, detail.has_namespace());
            // What policies deny is said in other words.
            let is_of_token = asked.capability().is_some()
                && status == StatusCode::FORBIDDEN
                && detail.texts == ["permission denied"];
            let or = if is_of_token {
                "; or Vault refuses the token itself: where the role has `token_bound_cidrs`, they \
                 must include the address that Vault sees of this server"
            } else {
                ""
            };
            format!("{endpoint} answers {status}{asked}{detail}{advice}{or}")
        }
    }
}

impl Fault {
    pub(super) fn bad_answer(endpoint: &str, body: BadBody) -> Self {
        Self::BadAnswer { endpoint: endpoint.to_owned(), reason: body.to_string() }
    }

    /// The status of an answer that is not 2xx.
    pub(super) fn status(&self) -> Option<StatusCode> {
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

    /// The same with the request that was refused, for its text.
    pub(super) fn about(mut self, call: &Call, space: &Space) -> Self {
        let last = match &mut self {
            Self::Several { last, .. } => &mut **last,
            alone => alone,
        };
        if let Self::Refused { asked, .. } = last {
            *asked = Asked::new(call, space);
        }
        self
    }

    pub(super) fn is_forbidden(&self) -> bool {
        self.status() == Some(StatusCode::FORBIDDEN)
    }

    /// Whether Vault knows the token, and the policies of the token do not grant what was asked.
    /// A token that Vault does not know is refused with another text than this one.
    pub(super) fn is_denied_by_policy(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::FORBIDDEN, detail, .. }
            if detail.texts.iter().any(|text| text == "1 error occurred: * permission denied"))
    }

    /// The right that a policy does not grant, if that is what is wrong.
    pub(super) fn missing_right(&self) -> Option<Capability> {
        match self {
            Self::Refused { status: StatusCode::FORBIDDEN, asked, .. } => asked.capability(),
            _ => None,
        }
    }

    /// Whether a version of a secret of KV version 2 was deleted or destroyed: its metadata stands.
    pub(super) fn is_deleted_version(&self) -> bool {
        self.is_not_found() && matches!(self, Self::Refused { detail, .. } if detail.has_data)
    }

    /// Whether the namespace of the request does not exist.
    pub(super) fn is_without_namespace(&self) -> bool {
        matches!(self, Self::Refused { detail, .. } if !detail.has_namespace())
    }

    /// Whether nothing stands at a path. A 404 with a text is something else: no engine, or one
    /// of the other version.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::NOT_FOUND, detail, .. } if detail.is_empty())
    }

    /// Whether the request may have been carried out all the same.
    pub(super) fn is_unsure(&self) -> bool {
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

    /// Whether the request was surely not carried out, and may be later, or by another node: no
    /// connection, or a node that is sealed, not initialised, knows no leader that it could pass the
    /// request on to, or asks for patience.
    pub(super) fn is_not_done(&self) -> bool {
        match self {
            Self::NoConnection { .. } | Self::Untrusted { .. } => true,
            Self::Several { last, .. } => last.is_not_done(),
            Self::Login { may_pass, .. } => *may_pass,
            Self::Refused { status, detail, .. } => {
                let knows_no_leader =
                    status.is_server_error() && detail.condition == Some(Condition::NoLeader);
                knows_no_leader
                    || matches!(
                        *status,
                        StatusCode::SERVICE_UNAVAILABLE
                            | StatusCode::NOT_IMPLEMENTED
                            | StatusCode::TOO_MANY_REQUESTS
                    )
            }
            Self::NoAnswer { .. } | Self::BadAnswer { .. } | Self::Redirected { .. } => false,
        }
    }

    /// Whether the same call may be answered otherwise a little later, without that anybody
    /// changes anything: Vault is away, being started or moved, or has too much to do.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::NoConnection { .. } | Self::NoAnswer { .. } => true,
            Self::Several { may_pass, .. } | Self::Login { may_pass, .. } => *may_pass,
            Self::Refused { status, .. } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
            Self::Untrusted { .. } | Self::BadAnswer { .. } | Self::Redirected { .. } => false,
        }
    }

    /// Whether Vault is not there, or there and closed: sealed or not initialised.
    pub(super) fn is_unreachable(&self) -> bool {
        match self {
            Self::NoConnection { .. } | Self::Untrusted { .. } | Self::NoAnswer { .. } => true,
            Self::Refused { status, .. } => {
                matches!(*status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::NOT_IMPLEMENTED)
            }
            Self::Several { last, .. } => last.is_unreachable(),
            Self::Login { reachable, .. } => !reachable,
            Self::BadAnswer { .. } | Self::Redirected { .. } => false,
        }
    }

    /// The error of the key store, for what has nothing to do with the key at hand.
    pub(super) fn into_error(self) -> Error {
        let reason = self.to_string();
        if self.is_unreachable() {
            Error::Unreachable { reason }
        } else {
            Error::Unavailable { reason }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_a_node_from_serving_is_said_in_words() {
        for (status, body, text) in [
            (503, r#"{"errors": ["Vault is sealed"]}"#, "http://vault is sealed"),
            (503, r#"{"initialized": true, "sealed": true}"#, "http://vault is sealed"),
            (501, r#"{"initialized": false, "sealed": true}"#, "http://vault is not initialised"),
            (
                500,
                r#"{"errors": ["local node not active but active cluster node not found"]}"#,
                "http://vault has no leader",
            ),
            (503, "{}", "http://vault answers 503 Service Unavailable"),
            // No more than a word in a refusal.
            (
                400,
                r#"{"errors": ["x is sealed"]}"#,
                "http://vault answers 400 Bad Request: x is sealed",
            ),
        ] {
            let fault = Fault::Refused {
                endpoint: "http://vault".to_owned(),
                status: StatusCode::from_u16(status).unwrap(),
                asked: Asked::default(),
                detail: Detail::parse(body.as_bytes(), None),
            };
            assert_eq!(fault.to_string(), text);
        }
    }

    #[test]
    fn only_a_404_without_a_text_says_that_nothing_is_there() {
        let fault = |status, body: &[u8]| Fault::Refused {
            endpoint: "http://vault".to_owned(),
            status,
            asked: Asked::default(),
            detail: Detail::parse(body, None),
        };
        assert!(fault(StatusCode::NOT_FOUND, br#"{"errors":[]}"#).is_not_found());
        // a soft-deleted version
        assert!(fault(StatusCode::NOT_FOUND, br#"{"data":{"data":null}}"#).is_not_found());
        let no_engine = br#"{"errors":["no handler for route \"kv/a\""]}"#;
        assert!(!fault(StatusCode::NOT_FOUND, no_engine).is_not_found());
        assert!(!fault(StatusCode::FORBIDDEN, br#"{"errors":[]}"#).is_not_found());
    }
}
