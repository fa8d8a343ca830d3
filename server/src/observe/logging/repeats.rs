//! Aggregates events that clients can cause as often as they like: the first of a kind is logged at
//! once, and later ones together, in one line with their number.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use kes_api::Identity;
use parking_lot::Mutex;

/// How long later events of a kind are collected before they are logged. The time doubles with each
/// line, so that a probe that runs for years does not fill the log, up to ...
const WINDOW: Duration = Duration::from_secs(5);

/// ... this.
const MAX_WINDOW: Duration = Duration::from_secs(15 * 60);

/// After this time without an event of its kind, the next one counts as the first.
const QUIET: Duration = Duration::from_secs(2 * 60);

/// How many kinds of events are distinguished at a time. Each takes some 300 bytes.
const MAX_KINDS: usize = 256;

/// How many of them one address can have, so that one client cannot use up all.
const MAX_OF_ADDRESS: usize = 8;

/// The longest message in characters. The server's own have some 300.
const MAX_MESSAGE: usize = 500;

/// The longest subject in characters. A client chooses it.
const MAX_SUBJECT: usize = 200;

/// How often [`Repeats::log_due`] is to be called.
pub(crate) const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// An event. Equal events are of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Event {
    /// The client that caused it; `None` for events of many clients.
    pub(crate) ip: Option<IpAddr>,
    /// What happened, and with which client: followers of the log get this field alone.
    pub(crate) message: String,
    /// The subject of the certificate that it is about.
    pub(crate) subject: Option<String>,
    /// The identity of that certificate.
    pub(crate) identity: Option<Identity>,
}

/// The recent events.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    kinds: Mutex<HashMap<Event, Kind>>,
}

#[derive(Debug)]
struct Kind {
    /// How many events were not logged yet.
    unreported: u64,
    /// When they are to be logged.
    due: Instant,
    window: Duration,
    /// When the kind was logged last.
    logged: Instant,
    /// When the last event happened.
    last: Instant,
}

impl Repeats {
    /// Logs an event, now or together with others.
    pub(crate) fn log(&self, event: Event) {
        if let Some(event) = self.add(event, Instant::now()) {
            event.log("");
        }
    }

    /// Logs the collected events that are due.
    pub(crate) fn log_due(&self) {
        for (event, more) in self.due(Instant::now()) {
            event.log(&more);
        }
    }

    /// Logs all collected events.
    pub(crate) fn log_all(&self) {
        self.kinds.lock().values_mut().for_each(|kind| kind.due = kind.logged);
        self.log_due();
    }

    /// Counts an event; returns it if it is the first of its kind.
    fn add(&self, mut event: Event, now: Instant) -> Option<Event> {
        shorten(&mut event.message, MAX_MESSAGE);
        if let Some(subject) = &mut event.subject {
            shorten(subject, MAX_SUBJECT);
        }
        let mut kinds = self.kinds.lock();
        let event = if kinds.contains_key(&event) { event } else { general(&kinds, event) };
        if let Some(kind) = kinds.get_mut(&event) {
            kind.unreported += 1;
            kind.last = now;
            return None;
        }
        let kind =
            Kind { unreported: 0, due: now + WINDOW, window: WINDOW, logged: now, last: now };
        kinds.insert(event.clone(), kind);
        Some(event)
    }

    /// The events that are due, with a text that tells their number.
    fn due(&self, now: Instant) -> Vec<(Event, String)> {
        let mut due = Vec::new();
        self.kinds.lock().retain(|event, kind| {
            if kind.unreported > 0 && now >= kind.due {
                let seconds = now.duration_since(kind.logged).as_secs().max(1);
                let times = if kind.unreported == 1 { "time" } else { "times" };
                due.push((
                    event.clone(),
                    format!(" ({} more {times} in {seconds} s)", kind.unreported),
                ));
                kind.unreported = 0;
                kind.logged = now;
                kind.window = (kind.window * 2).min(MAX_WINDOW);
                kind.due = now + kind.window;
            }
            kind.unreported > 0 || now.duration_since(kind.last) < QUIET.max(kind.window)
        });
        due
    }
}

/// The kind that an event is counted under: its own, or a more general one if there are too many
/// kinds.
fn general(kinds: &HashMap<Event, Kind>, event: Event) -> Event {
    let of = |ip, message| Event { ip, message, subject: None, identity: None };
    let of_address = kinds.keys().filter(|known| known.ip == event.ip).count();
    match event.ip {
        Some(_) if kinds.len() >= MAX_KINDS => of(
            None,
            "TLS handshakes with further addresses went wrong; there are too many to tell each"
                .to_owned(),
        ),
        Some(ip) if of_address >= MAX_OF_ADDRESS => of(
            Some(ip),
            format!(
                "TLS handshakes with {ip} went wrong for further reasons or with further \
                 certificates; there are too many to tell each"
            ),
        ),
        _ => event,
    }
}

fn shorten(text: &mut String, max: usize) {
    if let Some((end, _)) = text.char_indices().nth(max) {
        text.truncate(end);
        text.push('…');
    }
}

impl Event {
    fn log(&self, more: &str) {
        tracing::warn!(
            req.ip = self.ip.map(display),
            req.identity = self.identity.map(display),
            tls.subject = self.subject.as_deref(),
            "{}{more}",
            self.message
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(ip: u32, message: &str) -> Event {
        let ip = Some(IpAddr::V4(ip.into()));
        Event { ip, message: message.to_owned(), subject: None, identity: None }
    }

    #[test]
    fn many_of_a_kind_become_one_line_with_their_number() {
        let (repeats, start) = (Repeats::default(), Instant::now());
        assert!(repeats.add(event(1, "a"), start).is_some());
        for _ in 0..49 {
            assert!(repeats.add(event(1, "a"), start).is_none());
        }
        // Another kind and another address are told.
        assert!(repeats.add(event(1, "b"), start).is_some());
        assert!(repeats.add(event(2, "a"), start).is_some());
        assert!(repeats.due(start + WINDOW / 2).is_empty());
        let due = repeats.due(start + WINDOW);
        assert_eq!(due, [(event(1, "a"), " (49 more times in 5 s)".to_owned())]);
        assert!(repeats.due(start + WINDOW * 2).is_empty());
    }

    #[test]
    fn a_probe_that_goes_on_is_told_less_and_less_often() {
        let (repeats, start) = (Repeats::default(), Instant::now());
        let mut lines = 0;
        for second in 0..24 * 60 * 60 {
            let now = start + Duration::from_secs(second);
            if second % 10 == 0 {
                lines += u32::from(repeats.add(event(1, "a"), now).is_some());
            }
            lines += u32::try_from(repeats.due(now).len()).unwrap();
        }
        assert!((90..120).contains(&lines), "{lines} lines in a day");
    }

    #[test]
    fn after_a_while_of_silence_the_next_is_the_first_again() {
        let (repeats, start) = (Repeats::default(), Instant::now());
        assert!(repeats.add(event(1, "a"), start).is_some());
        assert!(repeats.due(start + QUIET).is_empty());
        assert!(repeats.kinds.lock().is_empty());
        assert!(repeats.add(event(1, "a"), start + QUIET).is_some());
    }

    #[test]
    fn memory_and_lines_are_bounded_whatever_clients_do() {
        let (repeats, now) = (Repeats::default(), Instant::now());
        let mut lines = 0;
        for number in 0..1000 {
            lines += usize::from(repeats.add(event(1, &number.to_string()), now).is_some());
        }
        assert_eq!(lines, MAX_OF_ADDRESS + 1);
        // One address does not keep the others from being told.
        assert_eq!(repeats.add(event(2, "a"), now), Some(event(2, "a")));
        for ip in 3..10_000 {
            lines += usize::from(repeats.add(event(ip, "a"), now).is_some());
        }
        assert!(repeats.kinds.lock().len() <= MAX_KINDS + 1);
        assert!(lines <= MAX_KINDS + 1, "{lines}");
        let due = repeats.due(now + WINDOW);
        let told: Vec<&str> = due.iter().map(|(event, _)| event.message.as_str()).collect();
        assert_eq!(told.len(), 2, "{told:?}");

        let long = Event { subject: Some("x".repeat(100_000)), ..event(1, "long") };
        let told = Repeats::default().add(long, now).unwrap();
        assert_eq!(told.subject.unwrap().chars().count(), MAX_SUBJECT + 1);
    }
}
