//! What happened to requests, and when.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use std::sync::Mutex;

/// A kind of work, by what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Data keys of keys that are in use: memory is enough.
    Cached,
    /// Data keys of keys that no server has met: Vault is read.
    Cold,
    /// New keys: Vault is written.
    Create,
    /// Data keys of keys that were created just now, perhaps by another server.
    Fresh,
}

impl Class {
    pub(super) const ALL: [Self; 4] = [Self::Cached, Self::Cold, Self::Create, Self::Fresh];
}

/// How a try ended.
#[derive(Clone, Copy)]
pub(super) enum End {
    /// With the answer that was asked for; since when the client wanted it, other tries included.
    Answered { since: Duration },
    /// With an answer of 5xx.
    Refused,
    /// Without an answer, or without a connection.
    Broken,
    /// By the client, which went on to something else.
    GivenUp,
}

/// All tries of all clients.
pub(super) struct Tally {
    start: Instant,
    events: Mutex<BTreeMap<Class, Vec<(Duration, End)>>>,
}

/// From when to when.
pub(super) type Window = [Duration; 2];

impl Tally {
    /// A tally whose times count from `start`.
    pub(super) fn since(start: Instant) -> Self {
        Self { start, events: Mutex::default() }
    }

    /// The time since then.
    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    pub(super) fn note(&self, class: Class, end: End) {
        let mut events = self.events.lock().unwrap();
        events.entry(class).or_default().push((self.start.elapsed(), end));
    }

    /// The longest time in which no client of a class was answered.
    pub(super) fn longest_gap(&self, class: Class, [from, to]: Window) -> Duration {
        let answers = self.in_window(class, [from, to], |at, end| {
            matches!(end, End::Answered { .. }).then_some(at)
        });
        let ends: Vec<Duration> = [from].into_iter().chain(answers).chain([to]).collect();
        ends.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// The longest time that one client waited for one answer, with all its tries.
    fn longest_wait(&self, class: Class, window: Window) -> Duration {
        let waits = self.in_window(class, window, |at, end| match end {
            End::Answered { since } => Some(at - since),
            End::Refused | End::Broken | End::GivenUp => None,
        });
        waits.into_iter().max().unwrap_or_default()
    }

    /// Answers of 5xx.
    pub(super) fn refusals(&self, class: Class, window: Window) -> usize {
        self.count(class, window, |end| matches!(end, End::Refused))
    }

    /// Tries that ended with an answer of 5xx or with none.
    pub(super) fn failures(&self, class: Class, window: Window) -> usize {
        self.count(class, window, |end| matches!(end, End::Refused | End::Broken))
    }

    fn count(&self, class: Class, window: Window, counts: impl Fn(End) -> bool) -> usize {
        self.in_window(class, window, |_, end| counts(end).then_some(())).len()
    }

    fn in_window<T>(
        &self,
        class: Class,
        [from, to]: Window,
        choose: impl Fn(Duration, End) -> Option<T>,
    ) -> Vec<T> {
        let events = self.events.lock().unwrap();
        let events = events.get(&class).into_iter().flatten();
        events
            .filter(|(at, _)| (from..to).contains(at))
            .filter_map(|(at, end)| choose(*at, *end))
            .collect()
    }

    /// Prints the figures, shown with `--nocapture`.
    #[expect(clippy::print_stderr, reason = "what a test measured is for who runs it")]
    pub(super) fn tell(&self, title: &str, windows: &[(&str, Window)]) {
        eprintln!("{title}");
        for (what, window) in windows {
            eprintln!("  {what}, {:.1?}", window[1] - window[0]);
            for class in Class::ALL {
                let refused = self.refusals(class, *window);
                let failed = self.failures(class, *window);
                let given_up = self.count(class, *window, |end| matches!(end, End::GivenUp));
                eprintln!(
                    "    {:7} {:6} requests, {failed:3} failed ({refused:3} by 5xx), \
                     {given_up} given up, longest gap {:5} ms, longest wait of a client {:5} ms",
                    format!("{class:?}"),
                    self.count(class, *window, |_| true),
                    self.longest_gap(class, *window).as_millis(),
                    self.longest_wait(class, *window).as_millis(),
                );
            }
        }
    }
}
