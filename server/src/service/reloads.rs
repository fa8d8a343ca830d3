//! How the last reloads ended, for the status, the metrics and the service manager.

use std::sync::Arc;

use kes_api::Timestamp;
use parking_lot::Mutex;

use crate::observe::metrics::Metrics;

/// The longest text of an outcome in bytes. systemd takes datagrams of 4 KiB, and terminals have
/// fewer columns.
const MAX_LEN: usize = 1_000;

/// What was read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The configuration, and all that it names.
    Configuration,
    /// The certificate files alone, because they have changed or some time has passed.
    Certificates,
    /// Nothing: another process was to take over, or this one has.
    HandOver,
}

/// How a reload ended.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) at: Timestamp,
    /// What has changed, or why nothing has; one line without secrets.
    pub(crate) result: Result<String, String>,
}

/// The last reloads of a server. The start counts as a success for the metrics alone.
pub(crate) struct LastReloads {
    metrics: Arc<Metrics>,
    last: Mutex<Last>,
}

#[derive(Clone, Debug, Default)]
struct Last {
    configuration: Option<Outcome>,
    certificates: Option<Outcome>,
    hand_over: Option<Outcome>,
}

impl LastReloads {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        metrics.reloads.success_time.set(Timestamp::now().unix_seconds());
        Self { metrics, last: Mutex::default() }
    }

    /// A reload has ended.
    pub(crate) fn record(&self, subject: Subject, result: Result<&str, &str>) {
        let at = Timestamp::now();
        let outcome = Outcome { at, result: result.map(one_line).map_err(one_line) };
        let mut last = self.last.lock();
        match subject {
            Subject::Configuration => {
                // The certificates were read as well.
                let failed = |outcome: &Outcome| outcome.result.is_err();
                if result.is_ok() && last.certificates.as_ref().is_some_and(failed) {
                    last.certificates = None;
                }
                last.configuration = Some(outcome);
            }
            Subject::Certificates => last.certificates = Some(outcome),
            Subject::HandOver => {
                last.hand_over = Some(outcome);
                self.metrics.reloads.hand_over_failed.set(result.is_err().into());
                return;
            }
        }
        let metrics = &self.metrics;
        if result.is_ok() {
            metrics.reloads.success_time.set(at.unix_seconds());
        }
        let result = if result.is_ok() { "success" } else { "error" };
        metrics.reloads.results.with_label_values(&[result]).inc();
        let outcomes = [&last.configuration, &last.certificates];
        let is_failed = outcomes.into_iter().flatten().any(|outcome| outcome.result.is_err());
        metrics.reloads.failed.set(is_failed.into());
    }

    /// The last outcome; `None` before the first.
    pub(crate) fn last(&self, subject: Subject) -> Option<Outcome> {
        let last = self.last.lock();
        match subject {
            Subject::Configuration => last.configuration.clone(),
            Subject::Certificates => last.certificates.clone(),
            Subject::HandOver => last.hand_over.clone(),
        }
    }
}

/// A text without line breaks, which would begin another message to the service manager, and no
/// longer than [`MAX_LEN`].
pub(crate) fn one_line(text: &str) -> String {
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
    use super::*;

    #[test]
    fn a_line_is_one_line_of_limited_length() {
        assert_eq!(one_line("a\nREADY=1\r\tb\n"), "a READY=1  b");
        for c in ["x", "é", "€", "😀"] {
            let line = one_line(&c.repeat(MAX_LEN));
            assert!(line.len() <= MAX_LEN && line.ends_with('…'), "{}", line.len());
        }
    }

    #[test]
    fn a_failure_stands_until_the_same_succeeds_or_the_whole_configuration_does() {
        let metrics = Arc::new(Metrics::new());
        let reloads = LastReloads::new(Arc::clone(&metrics));
        let (configuration, certificates) = (Subject::Configuration, Subject::Certificates);
        assert!(metrics.reloads.success_time.get() > 0);
        assert!(reloads.last(configuration).is_none() && reloads.last(certificates).is_none());
        for (subject, result, is_failed) in [
            (configuration, Err("a\nb"), true),
            (certificates, Ok("c"), true),
            (configuration, Ok("d"), false),
            (certificates, Err("e"), true),
            (configuration, Ok("f"), false),
            (certificates, Err("g"), true),
            (certificates, Ok("h"), false),
        ] {
            metrics.reloads.success_time.set(0);
            reloads.record(subject, result);
            assert_eq!(metrics.reloads.failed.get() == 1, is_failed, "{subject:?} {result:?}");
            assert_eq!(metrics.reloads.success_time.get() > 0, result.is_ok());
            let told = reloads.last(subject).unwrap().result;
            assert_eq!(told, result.map(str::to_owned).map_err(|text| text.replace('\n', " ")));
        }
        assert_eq!(metrics.reloads.results.with_label_values(&["success"]).get(), 4);
        assert_eq!(metrics.reloads.results.with_label_values(&["error"]).get(), 3);
    }
}
