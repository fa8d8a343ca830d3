//! What an operator is told of the running server in one line: `systemctl status` shows it.

use std::fmt::Write as _;
use std::time::SystemTime;

use kes_api::Timestamp;
use kes_keystore::State;
use parking_lot::Mutex;

use crate::service::ApiService;
use crate::transport::tls::Loaded;
use crate::transport::tls::expiry::Certificate;

/// The longest line in bytes. systemd takes datagrams of 4 KiB, and terminals have fewer columns.
const MAX_LEN: usize = 1_000;

/// What the status knows in addition to the running server itself.
#[derive(Debug, Default)]
pub(crate) struct Status {
    /// Since when the key store is away.
    away_since: Mutex<Option<Timestamp>>,
    /// The last reload, if it failed.
    reload: Mutex<Option<Failure>>,
    /// The last time that the certificate files were read again, if that failed.
    certificates: Mutex<Option<Failure>>,
}

#[derive(Debug)]
struct Failure {
    at: Timestamp,
    cause: String,
}

impl Status {
    /// The last reload of the configuration failed, or succeeded: then the certificates were read
    /// as well.
    pub(super) fn reloaded(&self, failure: Option<String>) {
        if failure.is_none() {
            *self.certificates.lock() = None;
        }
        *self.reload.lock() = failure.map(Failure::now);
    }

    /// The certificate files were read again.
    pub(super) fn read_certificates(&self, failure: Option<String>) {
        *self.certificates.lock() = failure.map(Failure::now);
    }

    /// The line. What may need the operator's attention comes first.
    pub(super) fn text(&self, service: &ApiService, tls: &Loaded) -> String {
        let generation = service.generation.load();
        let (state, trouble) = (generation.keys.state(), generation.keys.trouble());
        let mut parts = Vec::new();
        parts.extend(self.reload.lock().as_ref().map(|failure| failure.told("last reload failed")));
        let unread = "the certificate files could not be read again";
        parts.extend(self.certificates.lock().as_ref().map(|failure| failure.told(unread)));
        parts.push(self.store(state, trouble.as_deref(), Timestamp::now()));
        let policies = &generation.policies;
        parts.push(count(policies.policies().len(), "policy", "policies"));
        parts.push(count(policies.identities().len(), "identity", "identities"));
        parts.extend(expiry(&tls.certificates, SystemTime::now()));
        one_line(&parts.join("; "))
    }

    fn store(&self, state: State, trouble: Option<&str>, now: Timestamp) -> String {
        let mut away_since = self.away_since.lock();
        let what = match state {
            State::Reachable { .. } => {
                *away_since = None;
                return "key store reachable".to_owned();
            }
            State::Unavailable => "failing",
            State::Unreachable => "away",
        };
        let since = away_since.get_or_insert(now).to_table();
        let mut text = format!("key store {what} since {since} UTC");
        if let Some(trouble) = trouble {
            let _ = write!(text, ": {trouble}");
        }
        text
    }
}

impl Failure {
    fn now(cause: String) -> Self {
        Self { at: Timestamp::now(), cause }
    }

    fn told(&self, what: &str) -> String {
        format!("{what} at {} UTC: {}", self.at.to_table(), self.cause)
    }
}

/// When the first of the server's certificates expires.
fn expiry(certificates: &[Certificate], now: SystemTime) -> Option<String> {
    let until = certificates.iter().map(|certificate| certificate.validity.until).min()?;
    let verb = if until <= now { "EXPIRED" } else { "valid until" };
    Some(format!("certificate {verb} {} UTC", Timestamp::from(until).to_table()))
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A text without line breaks, which would begin another message to the service manager, and no
/// longer than [`MAX_LEN`].
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(MAX_LEN));
    for c in text.trim().chars() {
        if line.len() + c.len_utf8() > MAX_LEN - '…'.len_utf8() {
            line.push('…');
            break;
        }
        line.push(if c.is_control() { ' ' } else { c });
    }
    line
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kes_tls::Validity;

    use super::*;

    #[test]
    fn an_outage_is_told_with_its_begin_and_cause() {
        let status = Status::default();
        let at = |seconds| Timestamp::from_unix(seconds, 0).unwrap();
        let up = State::Reachable { latency: Duration::ZERO };
        assert_eq!(status.store(up, None, at(0)), "key store reachable");
        let away = status.store(State::Unreachable, Some("no route"), at(60));
        assert_eq!(away, "key store away since 1970-01-01 00:01:00 UTC: no route");
        let sealed = status.store(State::Unavailable, None, at(120));
        assert_eq!(sealed, "key store failing since 1970-01-01 00:01:00 UTC");
        status.store(up, None, at(180));
        let again = status.store(State::Unreachable, None, at(240));
        assert_eq!(again, "key store away since 1970-01-01 00:04:00 UTC");
    }

    #[test]
    fn the_first_certificate_to_expire_is_told() {
        let start = SystemTime::UNIX_EPOCH;
        let certificate = |seconds| Certificate {
            name: "tls.cert".to_owned(),
            validity: Validity { from: start, until: start + Duration::from_secs(seconds) },
        };
        let chain = [certificate(120), certificate(60)];
        assert_eq!(
            expiry(&chain, start).as_deref(),
            Some("certificate valid until 1970-01-01 00:01:00 UTC")
        );
        assert_eq!(
            expiry(&chain, start + Duration::from_secs(60)).as_deref(),
            Some("certificate EXPIRED 1970-01-01 00:01:00 UTC")
        );
        assert_eq!(expiry(&[], start), None);
    }

    #[test]
    fn a_line_is_one_line_of_limited_length() {
        assert_eq!(one_line("a\nREADY=1\r\tb\n"), "a READY=1  b");
        for c in ["x", "é", "€", "😀"] {
            let line = one_line(&c.repeat(MAX_LEN));
            assert!(line.len() <= MAX_LEN && line.ends_with('…'), "{}", line.len());
        }
    }
}
