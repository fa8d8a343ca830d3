//! What an operator is told of the running server in one line: `systemctl status` shows it.

use std::fmt::Write as _;
use std::time::SystemTime;

use kes_api::Timestamp;
use kes_keys::SnapshotStatus;
use kes_keystore::State;
use parking_lot::Mutex;

use crate::service::ApiService;
use crate::service::reloads::{Outcome, Subject, one_line};
use crate::transport::tls::Loaded;
use crate::transport::tls::expiry::Certificate;

/// What the status knows in addition to the running server itself.
#[derive(Debug, Default)]
pub(crate) struct Status {
    /// Since when the key store is away.
    away_since: Mutex<Option<Timestamp>>,
}

impl Status {
    /// The line. What may need the operator's attention comes first.
    pub(super) fn text(&self, service: &ApiService, tls: &Loaded) -> String {
        let generation = service.generation.load();
        let (state, trouble) = (generation.keys.state(), generation.keys.trouble());
        let mut parts = Vec::new();
        let reload = service.reloads.last(Subject::Configuration);
        parts.extend(reload.as_ref().and_then(|reload| failed(reload, "last reload failed")));
        let unread = "the certificate files could not be read again";
        let certificates = service.reloads.last(Subject::Certificates);
        parts.extend(certificates.and_then(|read| failed(&read, unread)));
        let hand_over = service.reloads.last(Subject::HandOver);
        parts.extend(hand_over.and_then(|tried| failed(&tried, "last hand-over failed")));
        parts.extend(wrong_keys(generation.keys.pin_faults()));
        parts.push(self.store(state, trouble.as_deref(), Timestamp::now()));
        parts.extend(generation.keys.snapshot().and_then(|status| snapshot(&status)));
        let policies = &generation.policies;
        parts.push(count(policies.policies().len(), "policy", "policies"));
        parts.push(count(policies.identities().len(), "identity", "identities"));
        parts.extend(expiry(&tls.certificates, SystemTime::now()));
        parts.extend(reload.and_then(|reload| {
            let changes = reload.result.ok()?;
            Some(format!("last reload at {} UTC: {changes}", reload.at.to_table()))
        }));
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

/// How many pinned keys the key store does not have.
fn wrong_keys(faults: usize) -> Option<String> {
    (faults > 0).then(|| format!("{} MISSING OR WRONG", count(faults, "pinned key", "pinned keys")))
}

/// What may need attention of the snapshot of the keys in use.
fn snapshot(status: &SnapshotStatus) -> Option<String> {
    let SnapshotStatus { keys, is_used, fault, written: _ } = status;
    if *is_used {
        return Some(format!("keys come from the snapshot ({})", count(*keys, "key", "keys")));
    }
    fault.as_ref().map(|fault| format!("snapshot {fault}"))
}

/// A reload that failed.
fn failed(Outcome { at, result }: &Outcome, what: &str) -> Option<String> {
    let cause = result.as_ref().err()?;
    Some(format!("{what} at {} UTC: {cause}", at.to_table()))
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
    fn a_snapshot_is_told_when_it_is_used_or_cannot_be() {
        let status = SnapshotStatus { keys: 3, ..SnapshotStatus::default() };
        assert_eq!(snapshot(&status), None);
        let fault = Some("cannot be written: disk full".to_owned());
        let broken = SnapshotStatus { fault, ..status.clone() };
        assert_eq!(snapshot(&broken).unwrap(), "snapshot cannot be written: disk full");
        let used = SnapshotStatus { is_used: true, ..broken };
        assert_eq!(snapshot(&used).unwrap(), "keys come from the snapshot (3 keys)");
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
}
