//! What is recorded: a line for each. The order of the fields is documented and stays.

use std::fmt;
use std::io::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kes_api::{Identity, Timestamp};

use crate::context;
pub use crate::context::Contexts;
use crate::json;
use crate::key::AuditKey;

/// The most bytes of a path, a method, a message and a reason. They bound what a client can have
/// written; no valid path, method or message is as long.
const MAX_PATH: usize = 204;
const MAX_METHOD: usize = 16;
const MAX_MESSAGE: usize = 160;
const MAX_REASON: usize = 512;

/// A request, or a change of a key that no request asks for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What kind of line it is.
    pub kind: Kind,
    /// When it ended.
    pub time: SystemTime,
    /// Its number since the server started; `None` where no request asks for it. All lines of one
    /// request have the same.
    pub number: Option<u64>,
    /// The operation; `None` if the path has no route.
    pub operation: Option<&'static str>,
    /// The method and the path, where the operation does not tell them.
    pub target: Option<(&'a str, &'a str)>,
    /// The client.
    pub identity: Option<Identity>,
    /// Its role.
    pub role: Role<'a>,
    /// Its address.
    pub address: Option<IpAddr>,
    /// The key that the path names.
    pub key: Option<&'a str>,
    /// Another name or pattern in the path.
    pub name: Option<&'a str>,
    /// The status of the answer, and the time since the request arrived; `None` for an announcement.
    pub answer: Option<(u16, Duration)>,
    /// What the client was told if it was refused or failed.
    pub message: Option<&'a str>,
    /// What it was not told.
    pub reason: Option<&'a str>,
    /// What the request is about ([`Contexts::packed`]).
    pub contexts: &'a [u8],
}

/// The kind of a line about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request that was answered, or whose client has gone.
    Request,
    /// A change that is about to be made.
    Announced,
    /// A change that was made for no request, or after its request was answered.
    Change,
}

/// Who a client is to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role<'a> {
    /// Nobody that the configuration names.
    Stranger,
    /// It has the policy with this name.
    Policy(&'a str),
    /// The admin.
    Admin,
}

/// Records that are missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gap {
    /// How many.
    pub records: u64,
    /// Those of them that are about changes of keys.
    pub changes: u64,
}

impl Kind {
    /// The value of the field `kind`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Announced => "announced",
            Self::Change => "change",
        }
    }
}

impl Request<'_> {
    /// Writes the fields. With a key each name of the context is hashed; with `None` for both
    /// nothing is told of it.
    pub(crate) fn write(&self, out: &mut Vec<u8>, clock: &mut Clock, told: Told<'_>) {
        begin(out, clock, self.time, self.kind.as_str());
        if let Some(number) = self.number {
            json::number(out, "request", number);
        }
        if let Some(operation) = self.operation {
            json::text(out, "operation", operation);
        }
        if let Some((method, path)) = self.target {
            json::text_within(out, "method", method, MAX_METHOD);
            json::text_within(out, "path", path, MAX_PATH);
        }
        if let Some(identity) = self.identity {
            json::text(out, "identity", identity.to_hex().as_str());
        }
        match self.role {
            Role::Stranger => {}
            Role::Policy(name) => json::text(out, "policy", name),
            Role::Admin => out.extend_from_slice(b",\"admin\":true"),
        }
        if let Some(address) = self.address {
            let _ = write!(out, ",\"address\":\"{address}\"");
        }
        if let Some(key) = self.key {
            json::text_within(out, "key", key, MAX_PATH);
        }
        if let Some(name) = self.name {
            json::text_within(out, "name", name, MAX_PATH);
        }
        if let Some((status, took)) = self.answer {
            json::number(out, "status", status.into());
            let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            json::number(out, "duration_us", micros);
        }
        if let Some(message) = self.message {
            json::text_within(out, "message", message, MAX_MESSAGE);
        }
        if let Some(reason) = self.reason {
            json::text_within(out, "reason", reason, MAX_REASON);
        }
        match told {
            Told::Names => context::write(out, self.contexts, None),
            Told::Hashes(key) => context::write(out, self.contexts, Some(key)),
            Told::Nothing => {}
        }
    }
}

/// What is told of a context.
#[derive(Clone, Copy)]
pub(crate) enum Told<'a> {
    Names,
    Hashes(&'a AuditKey),
    Nothing,
}

/// The fields that each line has after its number.
pub(crate) fn begin(out: &mut Vec<u8>, clock: &mut Clock, time: SystemTime, kind: &str) {
    let _ = write!(out, ",\"time\":\"{}\"", clock.text(time));
    json::text(out, "kind", kind);
}

/// Writes times. The text of a second is kept for the next time in it.
#[derive(Default)]
pub(crate) struct Clock {
    second: u64,
    /// Without the mark of UTC at its end; empty for none.
    text: String,
}

impl Clock {
    /// In UTC with microseconds.
    pub(crate) fn text(&mut self, time: SystemTime) -> impl fmt::Display + '_ {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        if since.as_secs() != self.second || self.text.is_empty() {
            self.second = since.as_secs();
            let second = UNIX_EPOCH + Duration::from_secs(self.second);
            self.text = Timestamp::from(second).to_string().trim_end_matches('Z').to_owned();
        }
        let micros = since.subsec_micros();
        fmt::from_fn(move |f| write!(f, "{}.{micros:06}Z", self.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request<'a>() -> Request<'a> {
        Request {
            kind: Kind::Request,
            time: UNIX_EPOCH + Duration::from_micros(1_764_268_000_000_001),
            number: None,
            operation: None,
            target: None,
            identity: None,
            role: Role::Stranger,
            address: None,
            key: None,
            name: None,
            answer: None,
            message: None,
            reason: None,
            contexts: &[],
        }
    }

    fn written(request: &Request<'_>, told: Told<'_>) -> String {
        let mut out = b"{\"seq\":1".to_vec();
        request.write(&mut out, &mut Clock::default(), told);
        out.push(b'}');
        let text = String::from_utf8(out).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
        text
    }

    /// The order of the fields is documented.
    #[test]
    fn a_record_has_all_fields_in_their_order() {
        let identity = Identity::of_public_key(b"client");
        let contexts = Contexts::of([&br#"{"b":"b/o"}"#[..]]);
        let all = Request {
            number: Some(7),
            operation: Some("DecryptKey"),
            target: Some(("PUT", "/v1/key/decrypt/k")),
            identity: Some(identity),
            role: Role::Policy("minio"),
            address: Some([10, 0, 0, 1].into()),
            key: Some("k"),
            name: Some("n"),
            answer: Some((403, Duration::from_micros(1_500))),
            message: Some("no"),
            reason: Some("why"),
            contexts: contexts.packed(),
            ..request()
        };
        let expected = format!(
            r#"{{"seq":1,"time":"2025-11-27T18:26:40.000001Z","kind":"request","request":7,"operation":"DecryptKey","method":"PUT","path":"/v1/key/decrypt/k","identity":"{identity}","policy":"minio","address":"10.0.0.1","key":"k","name":"n","status":403,"duration_us":1500,"message":"no","reason":"why","bucket":"b","object":"o"}}"#
        );
        assert_eq!(written(&all, Told::Names), expected);
        let without = expected.replace(r#","bucket":"b","object":"o""#, "");
        assert_eq!(written(&all, Told::Nothing), without);
        let key = AuditKey::of_bytes(&[7; 32]).unwrap();
        let hashed = written(&all, Told::Hashes(&key));
        assert!(hashed.contains(r#","bucket_hash":""#) && !hashed.contains(r#""object":"#));
    }

    #[test]
    fn what_is_not_there_has_no_field() {
        let admin = Request { kind: Kind::Announced, role: Role::Admin, ..request() };
        let expected =
            r#"{"seq":1,"time":"2025-11-27T18:26:40.000001Z","kind":"announced","admin":true}"#;
        assert_eq!(written(&admin, Told::Names), expected);
    }

    #[test]
    fn what_a_client_sends_is_bounded() {
        let long = "\u{1}".repeat(100_000);
        let all = Request {
            target: Some((&long, &long)),
            key: Some(&long),
            name: Some(&long),
            message: Some(&long),
            reason: Some(&long),
            ..request()
        };
        let length = written(&all, Told::Names).len();
        assert!(length < 8 * 1024, "{length}");
    }

    #[test]
    fn times_have_microseconds_in_utc() {
        let mut clock = Clock::default();
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (999_999, "1970-01-01T00:00:00.999999Z"),
            (1_000_000, "1970-01-01T00:00:01.000000Z"),
        ] {
            let time = UNIX_EPOCH + Duration::from_micros(micros);
            assert_eq!(clock.text(time).to_string(), text);
        }
    }
}
