/// What Vault says of an error.
mod detail;

/// What Vault is known to say.
mod known;

use http::StatusCode;

use self::detail::{Condition, Detail};
#[cfg(feature = "fuzzing")]
pub(super) use self::known::KNOWN;
use super::asked::{Asked, Space};
use super::call::{Call, Capability};
use crate::remote;

/// Why a call to Vault failed.
pub(super) type Fault = remote::Fault<Refusal>;

/// What Vault says in an answer that is not 2xx.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusal {
    /// The request; empty until [`Fault::about`].
    asked: Asked,
    detail: Detail,
}

impl remote::Refusal for Refusal {
    fn parse(body: &[u8], name: Option<&str>) -> Self {
        Self { asked: Asked::default(), detail: Detail::parse(body, name) }
    }

    fn describe(&self, endpoint: &str, status: StatusCode) -> String {
        let Self { asked, detail } = self;
        match detail.condition {
            // The condition of a node has nothing to do with what it was asked.
            Some(condition) if status.is_server_error() => format!("{endpoint} {condition}"),
            _ => {
                let advice = asked.advice(status, detail.has_namespace());
                // A denial by policies has another text.
                let is_of_token = asked.capability().is_some()
                    && status == StatusCode::FORBIDDEN
                    && detail.texts == ["permission denied"];
                let or = if is_of_token {
                    "; or Vault refuses the token itself: where the role has `token_bound_cidrs`, \
                     they must include the address that Vault sees of this server"
                } else {
                    ""
                };
                let foreign = if status == StatusCode::NOT_FOUND && detail.is_foreign {
                    ", which is no answer of Vault: something else is there, or a path in its \
                     address is wrong"
                } else {
                    ""
                };
                format!("{endpoint} answers {status}{asked}{detail}{foreign}{advice}{or}")
            }
        }
    }

    /// The node is sealed, not initialised, does not know a leader to which it could forward the
    /// request, or is overloaded.
    fn is_not_done(&self, status: StatusCode) -> bool {
        let knows_no_leader =
            status.is_server_error() && self.detail.condition == Some(Condition::NoLeader);
        knows_no_leader
            || matches!(
                status,
                StatusCode::SERVICE_UNAVAILABLE
                    | StatusCode::NOT_IMPLEMENTED
                    | StatusCode::TOO_MANY_REQUESTS
            )
    }

    /// 503 is the status of a sealed node, and 501 that of one that is not initialised.
    fn is_closed(&self, status: StatusCode) -> bool {
        matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::NOT_IMPLEMENTED)
    }
}

impl Fault {
    /// The same with the request that was refused, for its text.
    pub(super) fn about(mut self, call: &Call, space: &Space) -> Self {
        let last = match &mut self {
            Self::Several { last, .. } => &mut **last,
            alone => alone,
        };
        if let Self::Refused { refusal, .. } = last {
            refusal.asked = Asked::new(call, space);
        }
        self
    }

    /// Whether Vault knows the token, and the policies of the token do not grant what was asked.
    /// Vault refuses a token that it does not know with another text.
    pub(super) fn is_denied_by_policy(&self) -> bool {
        const DENIED: &str = "1 error occurred: * permission denied";
        matches!(self, Self::Refused { status: StatusCode::FORBIDDEN, refusal, .. }
            if refusal.detail.texts.iter().any(|text| text == DENIED))
    }

    /// The right that a policy does not grant, if that is the fault.
    pub(super) fn missing_right(&self) -> Option<Capability> {
        match self {
            Self::Refused { status: StatusCode::FORBIDDEN, refusal, .. } => {
                refusal.asked.capability()
            }
            _ => None,
        }
    }

    /// Whether a version of a secret of KV version 2 was deleted or destroyed while its metadata
    /// still exists.
    pub(super) fn is_deleted_version(&self) -> bool {
        self.is_not_found()
            && matches!(self, Self::Refused { refusal, .. } if refusal.detail.has_data)
    }

    /// Whether the namespace of the request does not exist.
    pub(super) fn is_without_namespace(&self) -> bool {
        matches!(self, Self::Refused { refusal, .. } if !refusal.detail.has_namespace())
    }

    /// Whether there is no entry at a path. A 404 with a text means something else: no engine, or
    /// one of the other version.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::NOT_FOUND, refusal, .. }
            if refusal.detail.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::wrap::Monitor;
    use crate::{Error, State};

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
            (404, r#"{"errors": []}"#, "http://vault answers 404 Not Found"),
            (
                404,
                "<html>",
                "http://vault answers 404 Not Found, which is no answer of Vault: something else is \
                 there, or a path in its address is wrong",
            ),
            // In a refusal it is only a word.
            (
                400,
                r#"{"errors": ["x is sealed"]}"#,
                "http://vault answers 400 Bad Request: an unknown text of 11 bytes, which is not shown",
            ),
        ] {
            let fault = Fault::Refused {
                endpoint: "http://vault".to_owned(),
                status: StatusCode::from_u16(status).unwrap(),
                refusal: remote::Refusal::parse(body.as_bytes(), None),
            };
            assert_eq!(fault.to_string(), text);
        }
    }

    #[test]
    fn a_status_says_whether_to_wait_and_what_is_known_of_the_health() {
        const WELL: State = State::Reachable { latency: Duration::ZERO };
        for (status, is_not_done, may_pass, is_unreachable) in [
            (400, false, false, false),
            (403, false, false, false),
            (404, false, false, false),
            (405, false, false, false),
            (413, false, false, false),
            (429, true, true, false),
            (500, false, true, false),
            (501, true, true, true),
            (502, false, true, false),
            (503, true, true, true),
            (504, false, true, false),
        ] {
            let fault = Fault::Refused {
                endpoint: "http://vault".to_owned(),
                status: StatusCode::from_u16(status).unwrap(),
                refusal: Refusal::default(),
            };
            assert_eq!(fault.is_not_done(), is_not_done, "{status}");
            assert_eq!(fault.may_pass(), may_pass, "{status}");
            assert_eq!(fault.is_unreachable(), is_unreachable, "{status}");
            let health = Monitor::opened(crate::Kind::new(&"vault"), "it", WELL);
            fault.note(&health);
            assert_eq!(health.is_reachable(), !is_unreachable, "{status}");
            let error = fault.into_error();
            assert_eq!(matches!(error, Error::Unreachable { .. }), is_unreachable, "{status}");
        }
    }

    #[test]
    fn only_a_404_without_a_text_says_that_nothing_is_there() {
        let fault = |status, body: &[u8]| Fault::Refused {
            endpoint: "http://vault".to_owned(),
            status,
            refusal: remote::Refusal::parse(body, None),
        };
        assert!(fault(StatusCode::NOT_FOUND, br#"{"errors":[]}"#).is_not_found());
        // A version that was soft-deleted.
        assert!(fault(StatusCode::NOT_FOUND, br#"{"data":{"data":null}}"#).is_not_found());
        let no_engine = br#"{"errors":["no handler for route \"kv/a\""]}"#;
        assert!(!fault(StatusCode::NOT_FOUND, no_engine).is_not_found());
        assert!(!fault(StatusCode::FORBIDDEN, br#"{"errors":[]}"#).is_not_found());
    }
}
