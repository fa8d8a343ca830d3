//! The audit log: one line for each request, with the client, what it asked for, and the answer.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use kes_api::event::{AuditEvent, AuditRequest, AuditResponse};
use kes_api::{Identity, Operation, Timestamp};
use kes_config::Level;

use super::Logs;
use super::line::{Line, go_duration, time_text};
use super::receipt::Receipt;

// The most bytes of the fields of a line that a client chooses, so that a request of some bytes
// does not write a line of some kilobytes: HTTP/2 sends a header field again as one byte.

/// Of the path, which has at most 179 bytes if it is valid, and 203 with the mark of one that was
/// cut.
const MAX_PATH: usize = 204;

/// Of the method. The longest that has a route is `DELETE`.
const MAX_METHOD: usize = 16;

/// Of the message, which may hold one of both. A message with the longest name has 141.
const MAX_MESSAGE: usize = 160;

/// Of the reason, which may hold patterns of the configuration.
const MAX_REASON: usize = 512;

/// What is recorded of a request that reached a route, and of its answer; or of a key that the
/// server creates without a request, which has no method, no path and no address.
pub(crate) struct Audited<'a> {
    pub(crate) operation: Operation,
    pub(crate) method: &'a str,
    /// Decoded.
    pub(crate) path: &'a str,
    /// The name or pattern in the path.
    pub(crate) resource: &'a str,
    pub(crate) ip: Option<IpAddr>,
    pub(crate) identity: Option<Identity>,
    pub(crate) status: u16,
    /// Whether a ciphertext was not authentic, or a TLS proxy forwarded no valid certificate.
    pub(crate) is_suspicious: bool,
    /// Whether a change failed of which it is known that it was not begun.
    pub(crate) changed_nothing: bool,
    pub(crate) took: Duration,
    /// What the client was told if it was refused or failed.
    pub(crate) refusal: Option<&'a str>,
    /// What only the log has: why it was refused or failed, or what is unusual about it.
    pub(crate) reason: Option<String>,
    /// If the line stands for several requests, of which this is the last.
    pub(crate) several: Option<Several>,
}

/// Requests that have one line together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Several {
    pub(crate) count: u64,
    /// When the first was answered.
    pub(crate) first: Timestamp,
    /// When the last was.
    pub(crate) last: Timestamp,
}

impl Several {
    /// The time of the first in the form of a line's own.
    pub(crate) fn first_text(&self) -> impl fmt::Display + use<> {
        time_text(self.first)
    }

    /// The same of the last.
    pub(crate) fn last_text(&self) -> impl fmt::Display + use<> {
        time_text(self.last)
    }
}

impl Logs {
    /// Whether a request with this answer is written to the log or sent to a follower. If not, the
    /// caller need not collect the details.
    pub(crate) fn wants_audit(
        &self,
        operation: Operation,
        status: u16,
        is_suspicious: bool,
    ) -> bool {
        self.audit_stream.is_followed() || self.writes(level(operation, status, is_suspicious))
    }

    /// Writes the line of a request, and sends it to the followers.
    pub(crate) fn audit(&self, audited: &Audited<'_>) {
        if self.writes_audit(audited) {
            self.write_audit(audited);
        }
        self.send_audit(audited);
    }

    /// Whether the level of the log has a line for a request.
    pub(crate) fn writes_audit(&self, audited: &Audited<'_>) -> bool {
        self.writes(audited.level())
    }

    /// Writes the line of a request, whatever the level of the log is.
    pub(crate) fn write_audit(&self, audited: &Audited<'_>) {
        let line = audited.line(self.json(), audited.level());
        if audited.may_have_changed() {
            self.stdout.change(6, line);
        } else {
            self.stdout.line(6, line);
        }
    }

    /// The same for a change that was made and must not go unrecorded.
    pub(crate) fn audit_with_receipt(&self, audited: &Audited<'_>) -> Receipt {
        let receipt = self.stdout.change_with_receipt(6, audited.line(self.json(), Level::INFO));
        self.send_audit(audited);
        receipt
    }

    /// Writes that a key is to be changed, before it is.
    pub(crate) fn announce(&self, audited: &Audited<'_>) -> Receipt {
        self.stdout.change_with_receipt(6, audited.announcement(self.json()))
    }

    /// Whether a key is only changed if the audit log says so.
    pub(crate) fn requires_audit(&self) -> bool {
        self.audit_required.load(Ordering::Relaxed)
    }

    /// Sends a request to the followers.
    pub(crate) fn send_audit(&self, audited: &Audited<'_>) {
        if !self.audit_stream.is_followed() {
            return;
        }
        let arrived = SystemTime::now().checked_sub(audited.took);
        let time = Timestamp::from(arrived.unwrap_or_else(SystemTime::now));
        if let Ok(mut line) = serde_json::to_vec(&audited.event(time)) {
            line.push(b'\n');
            self.audit_stream.send(&Bytes::from(line));
        }
    }

    fn writes(&self, level: Level) -> bool {
        level.number() >= self.audit_level.load(Ordering::Relaxed)
    }
}

/// INFO for changes of keys, for requests that were refused or failed, for a ciphertext that is not
/// authentic, which means that it was changed or damaged, and for a request from a TLS proxy without
/// a valid certificate, which may mean that the proxy is configured wrongly. DEBUG for all others,
/// including malformed requests.
fn level(operation: Operation, status: u16, is_suspicious: bool) -> Level {
    match operation {
        _ if is_suspicious => Level::INFO,
        _ if operation.changes_key() => Level::INFO,
        _ if matches!(status, 401 | 403 | 429 | 500..) => Level::INFO,
        _ => Level::DEBUG,
    }
}

impl Audited<'_> {
    fn level(&self) -> Level {
        level(self.operation, self.status, self.is_suspicious)
    }

    /// Whether a request was refused or failed, and changed no key.
    pub(crate) fn is_refusal(&self) -> bool {
        self.status >= 400 && !self.may_have_changed()
    }

    /// Whether a key was changed, or may have been: a change that failed in the key store may be
    /// done all the same. Only who may change keys can cause such a line.
    pub(super) fn may_have_changed(&self) -> bool {
        self.operation.changes_key()
            && matches!(self.status, 200..=299 | 500..)
            && !self.changed_nothing
    }

    fn event(&self, time: Timestamp) -> AuditEvent<'_> {
        AuditEvent {
            time,
            request: AuditRequest { ip: self.ip, path: self.path.into(), identity: self.identity },
            response: AuditResponse {
                code: self.status,
                time: u64::try_from(self.took.as_nanos()).unwrap_or(u64::MAX),
            },
        }
    }

    fn line(&self, json: bool, level: Level) -> String {
        let level = if level.number() >= Level::INFO.number() { "INFO" } else { "DEBUG" };
        let mut line = match self.refusal {
            Some(message) => self.request(json, level, message),
            None => self.request(json, level, &self.success()),
        };
        line.number("res.code", self.status.into());
        line.field("res.time", go_duration(self.took));
        self.add_reason(&mut line);
        if let Some(several) = &self.several {
            line.number("count", several.count);
            line.field("first", several.first_text());
            line.field("last", several.last_text());
        }
        line.finish()
    }

    /// The line that comes before a change. It has no answer yet.
    fn announcement(&self, json: bool) -> String {
        let done = match self.operation {
            Operation::ImportKey => "imported",
            Operation::DeleteKey => "deleted",
            _ => "created",
        };
        let message = format!("secret key '{}' is to be {done}", self.resource);
        let mut line = self.request(json, "INFO", &message);
        self.add_reason(&mut line);
        line.finish()
    }

    /// The fields of every line: who asked for what.
    fn request(&self, json: bool, level: &str, message: &str) -> Line {
        let mut line = Line::new(json, Timestamp::now(), level);
        line.field_within(MAX_MESSAGE, "msg", message);
        line.field_within(MAX_METHOD, "req.method", self.method);
        line.field_within(MAX_PATH, "req.path", self.path);
        line.field("req.ip", self.ip.map(|ip| ip.to_string()).unwrap_or_default());
        line.field("req.identity", self.identity.map(|id| id.to_string()).unwrap_or_default());
        line
    }

    fn add_reason(&self, line: &mut Line) {
        if let Some(reason) = &self.reason {
            line.field_within(MAX_REASON, "reason", reason);
        }
    }

    fn success(&self) -> String {
        let name = self.resource;
        match self.operation {
            Operation::CreateKey => format!("secret key '{name}' created"),
            Operation::ImportKey => format!("secret key '{name}' imported"),
            Operation::DeleteKey => format!("secret key '{name}' deleted"),
            _ => "request served".to_owned(),
        }
    }
}
