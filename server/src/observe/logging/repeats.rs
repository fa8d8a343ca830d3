//! Events that clients can cause as often as they like: the first of a kind is told at once, and
//! those that follow together, in one line with their number.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use kes_api::Identity;
use parking_lot::Mutex;

/// How long the events that follow the first are collected. It doubles with each line, so that a
/// probe that goes on for years does not fill the log, up to ...
const WINDOW: Duration = Duration::from_secs(5);

/// ... this.
const MAX_WINDOW: Duration = Duration::from_secs(15 * 60);

/// After so long without an event of its kind the next one counts as the first.
const QUIET: Duration = Duration::from_secs(2 * 60);

/// Kinds of events that are told apart at a time. Each takes some 300 bytes.
const MAX_KINDS: usize = 256;

/// Those of one address, so that one client cannot use up all of them.
const MAX_OF_ADDRESS: usize = 8;

/// The longest message in characters. Those of ours have some 300.
const MAX_MESSAGE: usize = 500;

/// The longest subject in characters. A client chooses it.
const MAX_SUBJECT: usize = 200;

/// How often collected lines are looked for.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

/// Something that happened. Events that are equal are of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Event {
    /// Whose fault it is; `None` for those of many.
    pub(crate) ip: Option<IpAddr>,
    /// What happened, and with whom: who follows the log reads this alone.
    pub(crate) message: String,
    /// The subject of the certificate that it is about.
    pub(crate) subject: Option<String>,
    /// The identity of that certificate.
    pub(crate) identity: Option<Identity>,
}

/// The events of late.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    kinds: Mutex<HashMap<Event, Kind>>,
}

#[derive(Debug)]
struct Kind {
    /// Events that were not told yet.
    untold: u64,
    /// When they are told at the earliest.
    due: Instant,
    window: Duration,
    told: Instant,
    last: Instant,
}

impl Repeats {
    /// Tells of an event, now or together with others.
    pub(crate) fn tell(&self, event: Event) {
        if let Some(event) = self.note(event, Instant::now()) {
            event.log("");
        }
    }

    /// Tells what was collected and is due.
    pub(crate) fn tell_due(&self) {
        for (event, more) in self.due(Instant::now()) {
            event.log(&more);
        }
    }

    /// Tells all that was collected.
    pub(crate) fn tell_all(&self) {
        self.kinds.lock().values_mut().for_each(|kind| kind.due = kind.told);
        self.tell_due();
    }

    /// The event if it is the first of its kind.
    fn note(&self, mut event: Event, now: Instant) -> Option<Event> {
        shorten(&mut event.message, MAX_MESSAGE);
        if let Some(subject) = &mut event.subject {
            shorten(subject, MAX_SUBJECT);
        }
        let mut kinds = self.kinds.lock();
        let event = if kinds.contains_key(&event) { event } else { general(&kinds, event) };
        if let Some(kind) = kinds.get_mut(&event) {
            kind.untold += 1;
            kind.last = now;
            return None;
        }
        let kind = Kind { untold: 0, due: now + WINDOW, window: WINDOW, told: now, last: now };
        kinds.insert(event.clone(), kind);
        Some(event)
    }

    /// What is due, with a text that says how many they were.
    fn due(&self, now: Instant) -> Vec<(Event, String)> {
        let mut due = Vec::new();
        self.kinds.lock().retain(|event, kind| {
            if kind.untold > 0 && now >= kind.due {
                let seconds = now.duration_since(kind.told).as_secs().max(1);
                let times = if kind.untold == 1 { "time" } else { "times" };
                due.push((
                    event.clone(),
                    format!(" ({} more {times} in {seconds} s)", kind.untold),
                ));
                kind.untold = 0;
                kind.told = now;
                kind.window = (kind.window * 2).min(MAX_WINDOW);
                kind.due = now + kind.window;
            }
            kind.untold > 0 || now.duration_since(kind.last) < QUIET.max(kind.window)
        });
        due
    }
}

/// The kind that an event is collected under: its own, or where there are too many, one that is
/// less exact.
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
        assert!(repeats.note(event(1, "a"), start).is_some());
        for _ in 0..49 {
            assert!(repeats.note(event(1, "a"), start).is_none());
        }
        // Another kind and another address are told.
        assert!(repeats.note(event(1, "b"), start).is_some());
        assert!(repeats.note(event(2, "a"), start).is_some());
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
                lines += u32::from(repeats.note(event(1, "a"), now).is_some());
            }
            lines += u32::try_from(repeats.due(now).len()).unwrap();
        }
        assert!((90..120).contains(&lines), "{lines} lines in a day");
    }

    #[test]
    fn after_a_while_of_silence_the_next_is_the_first_again() {
        let (repeats, start) = (Repeats::default(), Instant::now());
        assert!(repeats.note(event(1, "a"), start).is_some());
        assert!(repeats.due(start + QUIET).is_empty());
        assert!(repeats.kinds.lock().is_empty());
        assert!(repeats.note(event(1, "a"), start + QUIET).is_some());
    }

    #[test]
    fn memory_and_lines_are_bounded_whatever_clients_do() {
        let (repeats, now) = (Repeats::default(), Instant::now());
        let mut lines = 0;
        for number in 0..1000 {
            lines += usize::from(repeats.note(event(1, &number.to_string()), now).is_some());
        }
        assert_eq!(lines, MAX_OF_ADDRESS + 1);
        // One address does not keep the others from being told.
        assert_eq!(repeats.note(event(2, "a"), now), Some(event(2, "a")));
        for ip in 3..10_000 {
            lines += usize::from(repeats.note(event(ip, "a"), now).is_some());
        }
        assert!(repeats.kinds.lock().len() <= MAX_KINDS + 1);
        assert!(lines <= MAX_KINDS + 1, "{lines}");
        let due = repeats.due(now + WINDOW);
        let told: Vec<&str> = due.iter().map(|(event, _)| event.message.as_str()).collect();
        assert_eq!(told.len(), 2, "{told:?}");

        let long = Event { subject: Some("x".repeat(100_000)), ..event(1, "long") };
        let told = Repeats::default().note(long, now).unwrap();
        assert_eq!(told.subject.unwrap().chars().count(), MAX_SUBJECT + 1);
    }
}
