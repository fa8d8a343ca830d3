use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use kes_api::Identity;
use kes_tls::Validity;
use parking_lot::Mutex;
use prometheus::{GaugeVec, Opts};

use super::register::Register;

/// A certificate that expires within this time is shown.
const SOON: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// One that expired longer ago is no longer shown: its client has another identity by now, or is gone.
const GONE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How many are remembered at most, some 100 KiB. The one that was not seen for the longest time goes
/// first.
const MAX: usize = 1024;

/// Certificates of known clients that expire soon, as the handshakes show them. Strangers have none,
/// so that nobody can fill it.
pub(crate) struct ClientCertificates {
    gauges: GaugeVec,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    by_identity: HashMap<Identity, Certificate>,
    handshakes: u64,
}

struct Certificate {
    until: SystemTime,
    /// The number of the last handshake.
    last: u64,
}

impl ClientCertificates {
    pub(super) fn new(register: &Register) -> Self {
        let gauges = register.add(GaugeVec::new(
            Opts::new(
                "kes_tls_client_certificate_expiry",
                "Seconds until the certificate of a known client expires that is in the last third of \
                 its life and expires within 30 days, by identity, as of its last handshake",
            ),
            &["identity"],
        ));
        Self { gauges, seen: Mutex::default() }
    }

    /// Notes the certificate of a client that a policy names. Done once for a connection.
    pub(crate) fn note(&self, identity: Identity, validity: Validity, now: SystemTime) {
        let is_due = is_due(validity, now);
        let mut seen = self.seen.lock();
        if !is_due {
            // It was renewed.
            seen.by_identity.remove(&identity);
            return;
        }
        seen.handshakes += 1;
        let last = seen.handshakes;
        if seen.by_identity.len() >= MAX && !seen.by_identity.contains_key(&identity) {
            let oldest = seen.by_identity.iter().min_by_key(|(_, one)| one.last);
            if let Some(oldest) = oldest.map(|(identity, _)| *identity) {
                seen.by_identity.remove(&oldest);
            }
        }
        seen.by_identity.insert(identity, Certificate { until: validity.until, last });
    }

    /// Those of the clients that are still known, with the end of each, the first one first.
    pub(crate) fn due(
        &self,
        is_known: impl Fn(&Identity) -> bool,
        now: SystemTime,
    ) -> Vec<(Identity, SystemTime)> {
        let seen = self.seen.lock();
        let known = seen
            .by_identity
            .iter()
            .filter(|(identity, one)| one.until + GONE > now && is_known(identity));
        let mut due: Vec<_> = known.map(|(identity, one)| (*identity, one.until)).collect();
        due.sort_unstable_by_key(|(identity, until)| (*until, *identity));
        due
    }

    /// Sets the gauges: those of the clients that are still known.
    pub(super) fn show(&self, is_known: impl Fn(&Identity) -> bool, now: SystemTime) {
        self.gauges.reset();
        let mut seen = self.seen.lock();
        seen.by_identity.retain(|identity, one| is_known(identity) && one.until + GONE > now);
        for (identity, one) in &seen.by_identity {
            let left = match one.until.duration_since(now) {
                Ok(left) => left.as_secs_f64(),
                Err(since) => -since.duration().as_secs_f64(),
            };
            self.gauges.with_label_values(&[&identity.to_string()]).set(left);
        }
    }
}

/// Whether a certificate should have been renewed. Programs that renew certificates of a few days do
/// so when a third of their life is left.
fn is_due(validity: Validity, now: SystemTime) -> bool {
    let left = validity.until.duration_since(now).unwrap_or_default();
    let life = validity.until.duration_since(validity.from).unwrap_or_default();
    left < SOON && left < life / 3
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;
    use prometheus::core::Collector as _;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn identity(number: usize) -> Identity {
        Identity::of_public_key(&number.to_le_bytes())
    }

    fn shown(certificates: &ClientCertificates, now: SystemTime) -> Vec<(String, f64)> {
        certificates.show(|_| true, now);
        let families = certificates.gauges.collect();
        let series = families[0].get_metric().iter();
        series
            .map(|one| (one.get_label()[0].value().to_owned(), one.get_gauge().get_value()))
            .collect()
    }

    #[test]
    fn a_certificate_is_shown_once_it_should_have_been_renewed_and_until_it_is() {
        let certificates = ClientCertificates::new(&Register(Registry::new()));
        let start = SystemTime::UNIX_EPOCH + DAY * 20_000;
        let (year, week) = (
            Validity { from: start, until: start + DAY * 365 },
            Validity { from: start, until: start + DAY * 7 },
        );
        certificates.note(identity(1), year, start + DAY * 335);
        certificates.note(identity(2), week, start + DAY * 4);
        assert_eq!(shown(&certificates, start + DAY * 4), []);
        let now = start + DAY * 336;
        certificates.note(identity(1), year, now);
        let name = identity(1).to_string();
        assert_eq!(shown(&certificates, now), [(name.clone(), 29.0 * 86_400.0)]);
        assert_eq!(shown(&certificates, start + DAY * 366), [(name, -86_400.0)]);
        certificates.show(|known| *known != identity(1), now);
        assert_eq!(shown(&certificates, now), [], "it is no longer known");
        certificates.note(identity(1), year, now);
        certificates.note(identity(1), Validity { from: now, until: now + DAY * 365 }, now);
        assert_eq!(shown(&certificates, now), [], "it was renewed");
        certificates.note(identity(2), week, start + DAY * 6);
        assert_eq!(shown(&certificates, start + DAY * 6).len(), 1);
        assert_eq!(shown(&certificates, start + DAY * 14), [], "it is long over");
    }

    #[test]
    fn many_clients_take_bounded_memory_and_the_last_ones_are_kept() {
        let certificates = ClientCertificates::new(&Register(Registry::new()));
        let now = SystemTime::UNIX_EPOCH + DAY * 20_000;
        let old = Validity { from: now - DAY * 365, until: now + DAY };
        for number in 0..MAX {
            certificates.note(identity(number), old, now);
        }
        certificates.note(identity(0), old, now);
        certificates.note(identity(MAX), old, now);
        let shown: Vec<_> = shown(&certificates, now).into_iter().map(|(name, _)| name).collect();
        assert_eq!(shown.len(), MAX);
        for (number, is_kept) in [(0, true), (1, false), (2, true), (MAX, true)] {
            assert_eq!(shown.contains(&identity(number).to_string()), is_kept, "{number}");
        }
    }
}
