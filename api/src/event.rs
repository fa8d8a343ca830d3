//! The lines of the two streams (contract `api.md`, Streams): one JSON object each.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{Identity, Timestamp};

/// A line of `/v1/log/audit`: one request and how it was answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuditEvent<'a> {
    /// When the request arrived.
    pub time: Timestamp,
    /// What was asked, and by whom.
    #[serde(borrow)]
    pub request: AuditRequest<'a>,
    /// What was answered.
    pub response: AuditResponse,
}

/// The request of an [`AuditEvent`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuditRequest<'a> {
    /// The client's address; absent where it is not known.
    #[serde(default)]
    pub ip: Option<IpAddr>,
    /// The decoded path.
    #[serde(borrow)]
    pub path: Cow<'a, str>,
    /// The client's identity; empty where the client has none.
    #[serde(default, with = "identity_or_empty")]
    pub identity: Option<Identity>,
}

/// The response of an [`AuditEvent`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct AuditResponse {
    /// The HTTP status.
    pub code: u16,
    /// How long the answer took, in nanoseconds.
    pub time: u64,
}

/// A line of `/v1/log/error`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ErrorEvent<'a> {
    /// The message of the line in the error log, without its fields.
    #[serde(borrow)]
    pub message: Cow<'a, str>,
}

mod identity_or_empty {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::Identity;

    pub(super) fn serialize<S: Serializer>(
        identity: &Option<Identity>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match identity {
            Some(identity) => serializer.serialize_str(identity.to_hex().as_str()),
            None => serializer.serialize_str(""),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Identity>, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Ok(text.parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audit_line_has_the_fields_of_the_contract() {
        let event = AuditEvent {
            time: Timestamp::from_unix(1_700_000_000, 0).unwrap(),
            request: AuditRequest {
                ip: Some(IpAddr::from([127, 0, 0, 1])),
                path: "/v1/key/create/k".into(),
                identity: None,
            },
            response: AuditResponse { code: 400, time: 1500 },
        };
        let line = serde_json::to_string(&event).unwrap();
        let expected = r#"{"time":"2023-11-14T22:13:20Z","request":{"ip":"127.0.0.1","path":"/v1/key/create/k","identity":""},"response":{"code":400,"time":1500}}"#;
        assert_eq!(line, expected);
        let read: AuditEvent<'_> = serde_json::from_str(&line).unwrap();
        assert_eq!((read.request.identity, read.response.code), (None, 400));
    }
}
