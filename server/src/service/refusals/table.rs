//! Counts refused and failed requests by kind: the client, what it asked for, and the answer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use kes_api::{Identity, Operation, Timestamp};

use crate::observe::logging::audit::{Audited, Several};

/// How many requests of a kind are told one by one at first. A client that is configured wrongly is
/// told in full for some minutes: `MinIO` asks every 10 s by itself.
const BURST: u32 = 16;

/// After this time one more of them is.
const REFILL: Duration = Duration::from_secs(10);

/// How long further ones are counted before their number is told. The time doubles with each line,
/// up to ...
const WINDOW: Duration = Duration::from_secs(1);

/// ... this, so that a flood that goes on writes two lines in 10 s: its number, and one request by
/// itself.
const MAX_WINDOW: Duration = Duration::from_secs(10);

/// The most bytes of a message, or of a reason, that are kept. The longest, an outage of Vault with
/// a cause for each endpoint, has some 2 KiB.
const MAX_TEXT: usize = 2048;

/// The most bytes of a method that are kept; the log has fewer.
const MAX_METHOD: usize = 32;

/// How many kinds a table distinguishes at a time. Each takes some hundred bytes, and 5 KiB at most.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// In all. Further requests are counted together.
    pub(super) kinds: usize,
    /// Of one client. Its further requests are counted together.
    pub(super) of_client: usize,
}

/// The refused and failed requests of one class of callers.
pub(super) struct Table {
    limits: Limits,
    kinds: HashMap<Kind, Recent>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Kind {
    /// Nothing for the clients that are too many.
    client: Option<Client>,
    /// Operation, status, and whether a ciphertext was not authentic; nothing for all that one
    /// client was refused beyond what is told apart.
    what: Option<(Operation, u16, bool)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Client {
    Identity(Identity),
    /// It has no identity.
    Address(Option<IpAddr>),
}

struct Recent {
    /// How many may be told one by one.
    left: u32,
    /// When that was told last.
    at: Instant,
    /// How long those that come next are counted.
    window: Duration,
    counted: Option<Counted>,
}

struct Counted {
    due: Instant,
    merged: Merged,
}

/// Requests that were not told one by one.
pub(super) struct Merged {
    kind: Kind,
    several: Several,
    last: Refused,
}

/// All of a request that the log tells.
struct Refused {
    operation: Operation,
    method: String,
    path: String,
    ip: Option<IpAddr>,
    identity: Option<Identity>,
    status: u16,
    is_suspicious: bool,
    took: Duration,
    message: String,
    reason: Option<String>,
}

impl Table {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, kinds: HashMap::new() }
    }

    /// Counts a request, unless it is to be told by itself.
    pub(super) fn is_merged(&mut self, audited: &Audited<'_>, now: Instant) -> bool {
        let kind = self.kind_of(audited);
        let recent = self.kinds.entry(kind).or_insert_with(|| Recent::new(now));
        recent.refill(now);
        match &mut recent.counted {
            Some(counted) => counted.merged.add(audited),
            None if recent.left > 0 => {
                recent.left -= 1;
                return false;
            }
            None => {
                let merged = Merged::new(kind, audited);
                recent.counted = Some(Counted { due: now + recent.window, merged });
            }
        }
        true
    }

    /// What a request is counted as: its own kind, or a more general one if there are too many.
    fn kind_of(&self, audited: &Audited<'_>) -> Kind {
        let client = Some(audited.identity.map_or(Client::Address(audited.ip), Client::Identity));
        let what = (audited.operation, audited.status, audited.is_suspicious);
        let own = Kind { client, what: Some(what) };
        let of_client = Kind { client, what: None };
        let has_room = self.kinds.len() < self.limits.kinds;
        let known = || self.kinds.keys().filter(|kind| kind.client == client).count();
        if self.kinds.contains_key(&own) || (has_room && known() < self.limits.of_client) {
            own
        } else if self.kinds.contains_key(&of_client) || has_room {
            of_client
        } else {
            Kind { client: None, what: None }
        }
    }

    /// Takes what was counted and is due to be told, or all of it.
    pub(super) fn due(&mut self, now: Instant, all: bool) -> Vec<Merged> {
        let mut due = Vec::new();
        self.kinds.retain(|_, recent| {
            recent.refill(now);
            if let Some(counted) = recent.counted.take_if(|counted| all || now >= counted.due) {
                recent.window = (recent.window * 2).min(MAX_WINDOW);
                due.push(counted.merged);
            }
            recent.counted.is_some() || recent.left < BURST
        });
        due
    }
}

impl Recent {
    const fn new(now: Instant) -> Self {
        Self { left: BURST, at: now, window: WINDOW, counted: None }
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs() / REFILL.as_secs();
        if let Ok(passed @ 1..) = u32::try_from(passed) {
            self.left = self.left.saturating_add(passed).min(BURST);
            self.at += REFILL * passed;
        }
    }
}

impl Merged {
    fn new(kind: Kind, audited: &Audited<'_>) -> Self {
        let now = Timestamp::now();
        Self {
            kind,
            several: Several { count: 1, first: now, last: now },
            last: Refused::of(audited),
        }
    }

    fn add(&mut self, audited: &Audited<'_>) {
        self.several.count += 1;
        self.several.last = Timestamp::now();
        self.last = Refused::of(audited);
    }

    /// Hands out the line.
    pub(super) fn tell(self, write: impl FnOnce(&Audited<'_>)) {
        let Self { kind, several, last } = self;
        let message = match kind {
            Kind { what: Some(_), .. } => last.message,
            Kind { client: Some(_), .. } => {
                format!(
                    "further requests of this client were not served, the last: {}",
                    last.message
                )
            }
            _ => format!("requests of further clients were not served, the last: {}", last.message),
        };
        write(&Audited {
            operation: last.operation,
            method: &last.method,
            path: &last.path,
            // Only a key that was changed is named by it.
            resource: "",
            ip: last.ip,
            identity: last.identity,
            status: last.status,
            is_suspicious: last.is_suspicious,
            // A request that may have changed a key is not merged.
            changed_nothing: true,
            took: last.took,
            refusal: Some(&message),
            reason: last.reason,
            several: Some(several),
        });
    }
}

impl Refused {
    fn of(audited: &Audited<'_>) -> Self {
        Self {
            operation: audited.operation,
            method: start(audited.method, MAX_METHOD),
            path: audited.path.to_owned(),
            ip: audited.ip,
            identity: audited.identity,
            status: audited.status,
            is_suspicious: audited.is_suspicious,
            took: audited.took,
            message: start(audited.refusal.unwrap_or_default(), MAX_TEXT),
            reason: audited.reason.as_deref().map(|reason| start(reason, MAX_TEXT)),
        }
    }
}

fn start(text: &str, most: usize) -> String {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
