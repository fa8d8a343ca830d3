//! The create of engines of KV version 1, which have no compare-and-set.
//!
//! Of any number of our servers that create one key at once exactly one writes it. Each writes a
//! claim of its own in a folder that belongs to the key, then lists the folder:
//!
//! 1. Two creators never both find themselves alone: each lists after its own claim stands, so
//!    whoever claimed last sees the other. All is read in the latest state (`consistency`). A
//!    creator whose own claim is missing from the list waits for it (the node lags all the same)
//!    or starts again (somebody took the creator for dead).
//! 2. Who is alone looks for the key once more, because another may have finished in between,
//!    writes it, reads it back, and takes its claim away. Until then nobody else is alone.
//! 3. Of several, the one with the smallest claim waits to be alone; the others take theirs away
//!    and come again a little later. Most often they then find the key.
//! 4. The claim of a creator that died would block the key. It is removed after it has been seen
//!    for `DEAD`: by then nothing that its creator sent can still be carried out.
//!
//! A write without an answer may yet be carried out: its claim is left where it is until that is
//! known (`release`).
//!
//! Where the policy does not grant what this needs, there is no election (`permission`).
//!
//! What is left: a creator whose machine is stopped for minutes between its last look at the
//! clock and its write, and another program that writes without a claim, such as the reference
//! server. Where the policy grants no `update`, as the documentation says, Vault itself refuses
//! both unless they hit the same instant; the window is one round trip.

/// Whether the policy allows elections.
mod permission;

/// What is put in order later.
mod release;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kes_api::KeyName;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time;

use self::permission::Ability;
use super::body::{Field, text_at};
use super::client::Call;
use super::create::{LOOK, MAX_LAG};
use super::engine::{delete, read, write};
use super::fault::Fault;
use super::{Vault, jitter};
use crate::Error;

/// A claim that has been seen for so long is dead. Its creator writes within [`MAX_HOLD`], and
/// Vault carries nothing out later than 90 s after it was sent (`default_max_request_duration`).
const DEAD: Duration = Duration::from_secs(120);

/// A claim that is older by its own clock is dead at once: clocks do not differ by that much.
const DEAD_BY_CLOCK: Duration = Duration::from_secs(3600);

/// A creator does not write if it has held its claim for longer.
const MAX_HOLD: Duration = Duration::from_secs(10);

/// How long a creator goes on trying to be alone.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// A creator that stepped back comes again after this time: that of a create, and of twice as
/// many each time.
const STEP_BACK: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(500)];

/// Claims of others that are remembered. There is one for each creator at work on another server;
/// a server forgets all of them rather than keep more.
const MAX_SEEN: usize = 4096;

/// The field of a claim that says when it was made, in seconds since 1970.
const CREATED: &str = "created";

/// Creators of one name on this server go one after the other, so that they do not stand for
/// election against each other. Names share this many places.
const PLACES: usize = 64;

/// What the elections of this server have in common.
pub(super) struct Elections {
    places: [tokio::sync::Mutex<()>; PLACES],
    hasher: RandomState,
    /// Claims of others, and when each was seen first.
    seen: Mutex<HashMap<String, Instant>>,
    ability: Ability,
    /// What is put in order later.
    behind: Arc<Semaphore>,
}

impl Default for Elections {
    fn default() -> Self {
        Self {
            places: std::array::from_fn(|_| tokio::sync::Mutex::default()),
            hasher: RandomState::new(),
            seen: Mutex::default(),
            ability: Ability::default(),
            behind: Arc::new(Semaphore::new(release::MAX_BEHIND)),
        }
    }
}

/// Our claim to create a key.
struct Claim {
    id: String,
    path: String,
    since: Instant,
}

/// How a write ended.
enum Written {
    /// The key is ours, or is not: there is nothing more to come.
    Settled(Result<(), Error>),
    /// Nobody knows.
    Open(Error),
}

impl Vault {
    /// Creates a key as the one creator of it, as far as the policy allows.
    pub(super) async fn create_by_election(
        self: &Arc<Self>,
        name: &KeyName,
        stored: &str,
    ) -> Result<(), Error> {
        let place = self.elections.hasher.hash_one(name.as_str()) % (PLACES as u64);
        let place = usize::try_from(place).expect("a place is below 64");
        let place = &self.elections.places[place];
        let (_turn, mut outdated) = match place.try_lock() {
            Ok(turn) => (turn, false),
            Err(_) => (place.lock().await, true),
        };

        let start = Instant::now();
        let mut pause = STEP_BACK[0];
        while start.elapsed() < MAX_WAIT {
            // Our caller has just looked, and there is most often no one else.
            if outdated && self.stands(name).await.map_err(Fault::into_error)? {
                return Err(Error::Exists { name: *name });
            }
            outdated = true;
            if !self.may_elect(name).await.map_err(Fault::into_error)? {
                return self.create_alone(name, stored).await;
            }
            match self.stand_for_election(name, stored).await {
                Ok(Some(result)) => return result,
                Ok(None) => {}
                // A right that was there is missing by now.
                Err(fault) if fault.is_forbidden() => {
                    self.lose_elections(&fault);
                    continue;
                }
                Err(fault) => return Err(fault.into_error()),
            }
            time::sleep(jitter(pause)).await;
            pause = (pause * 2).min(STEP_BACK[1]);
        }
        Err(Error::Unavailable {
            reason: format!(
                "another server is creating key '{name}', or died while it did; if it died, the name is free again within {} minutes",
                DEAD.as_secs() / 60
            ),
        })
    }

    /// Claims a key, and creates it if no one else claims it; `None` if we have to step back. A
    /// fault is one of the election: the key was not written.
    async fn stand_for_election(
        self: &Arc<Self>,
        name: &KeyName,
        stored: &str,
    ) -> Result<Option<Result<(), Error>>, Fault> {
        let claim = self.claim(name).await?;
        match self.win(name, &claim).await {
            Ok(true) => {
                let call = self.write_new(name, stored);
                Ok(Some(match self.write_alone(name, stored, &call, &claim).await {
                    Written::Settled(result) => {
                        self.withdraw(claim).await;
                        result
                    }
                    Written::Open(error) => {
                        self.settle(*name, stored, call, claim);
                        Err(error)
                    }
                }))
            }
            Ok(false) => {
                self.withdraw(claim).await;
                Ok(None)
            }
            Err(fault) => {
                self.withdraw(claim).await;
                Err(fault)
            }
        }
    }

    /// Puts a new claim up.
    async fn claim(self: &Arc<Self>, name: &KeyName) -> Result<Claim, Fault> {
        let id = unique();
        let path = format!("{}/{id}", self.paths.claims(name));
        let call = write(path.clone(), &Field(CREATED, now().to_string()));
        // It is ours alone, so it may be written twice.
        let call = Call { repeatable: true, ..call };
        let claim = Claim { id, path, since: Instant::now() };
        match self.session.call(&call).await {
            Ok(_) => Ok(claim),
            // Without `update` Vault refuses the second of two writes, if it has the first.
            Err(fault) if fault.is_forbidden() => {
                match self.session.call(&read(claim.path.clone())).await {
                    Ok(_) => Ok(claim),
                    Err(_) => Err(fault),
                }
            }
            Err(fault) => {
                // Of several endpoints the last one may not have got it, and one before it may.
                self.withdraw(claim).await;
                Err(fault)
            }
        }
    }

    /// Whether we are alone; false if we have to step back.
    async fn win(&self, name: &KeyName, claim: &Claim) -> Result<bool, Fault> {
        let folder = self.paths.claims(name);
        while claim.since.elapsed() < MAX_HOLD {
            let claims = self.names(&folder).await?;
            if !claims.contains(&claim.id) {
                if claim.since.elapsed() > MAX_LAG {
                    return Ok(false);
                }
                time::sleep(jitter(LOOK)).await;
                continue;
            }
            let mut smallest = true;
            let mut alone = true;
            for other in claims.iter().filter(|other| **other != claim.id) {
                if !self.bury(&folder, other).await? {
                    alone = false;
                    smallest &= claim.id < *other;
                }
            }
            if alone {
                return Ok(true);
            }
            if !smallest {
                return Ok(false);
            }
            time::sleep(jitter(LOOK)).await;
        }
        Ok(false)
    }

    /// Writes the key, while nobody else may.
    async fn write_alone(
        &self,
        name: &KeyName,
        stored: &str,
        call: &Call,
        claim: &Claim,
    ) -> Written {
        match self.stands(name).await {
            Ok(false) => {}
            Ok(true) => return Written::Settled(Err(Error::Exists { name: *name })),
            Err(fault) => return Written::Settled(Err(fault.into_error())),
        }
        let mut patience = self.session.patience();
        let (mut unsure, mut repeated) = (false, false);
        loop {
            if claim.since.elapsed() > MAX_HOLD {
                let error = Error::Unreachable { reason: "Vault is too slow".to_owned() };
                return if unsure { Written::Open(error) } else { Written::Settled(Err(error)) };
            }
            match self.session.try_call(call).await {
                Ok(_) => break,
                Err(fault) if fault.is_unsure() && !unsure => unsure = true,
                Err(fault) if patience.outlasts(&fault).await => unsure |= fault.is_unsure(),
                Err(fault) if unsure => {
                    return match self.refused(name, stored, call, true, fault).await {
                        Ok(()) => Written::Settled(Ok(())),
                        Err(error @ Error::Exists { .. }) => Written::Settled(Err(error)),
                        Err(error) => Written::Open(error),
                    };
                }
                Err(fault) => {
                    let result = self.refused(name, stored, call, repeated, fault).await;
                    return Written::Settled(result);
                }
            }
            repeated = true;
        }
        // A program that takes no part in elections may have written over it.
        Written::Settled(self.shows(name, stored).await)
    }

    /// Removes somebody else's claim if it is dead; whether it was.
    async fn bury(&self, folder: &str, id: &str) -> Result<bool, Fault> {
        let path = format!("{folder}/{id}");
        let dead = match self.elections.first_seen(&path) {
            Some(first) => first.elapsed() >= DEAD,
            None => self.is_dead_by_clock(&path).await?,
        };
        if dead {
            self.session.call(&delete(path.clone())).await?;
            self.elections.seen.lock().remove(&path);
        }
        Ok(dead)
    }

    async fn is_dead_by_clock(&self, path: &str) -> Result<bool, Fault> {
        let answer = match self.session.call(&read(path.to_owned())).await {
            Ok(answer) => answer,
            // It went while we looked.
            Err(fault) if fault.is_not_found() => return Ok(true),
            Err(fault) => return Err(fault),
        };
        let created = text_at(answer.body.as_slice(), &["data", CREATED])
            .map_err(|bad| Fault::bad_answer(&answer.endpoint, bad))?
            .and_then(|created| created.parse::<u64>().ok());
        Ok(created.is_some_and(|created| now().saturating_sub(created) > DEAD_BY_CLOCK.as_secs()))
    }
}

impl Elections {
    /// When a claim was seen before; `None` for the first time.
    fn first_seen(&self, path: &str) -> Option<Instant> {
        let mut seen = self.seen.lock();
        if let Some(first) = seen.get(path) {
            return Some(*first);
        }
        if seen.len() >= MAX_SEEN {
            seen.retain(|_, at| at.elapsed() < 2 * DEAD);
        }
        if seen.len() >= MAX_SEEN {
            seen.clear();
        }
        seen.insert(path.to_owned(), Instant::now());
        None
    }
}

/// A name that no other claim has.
fn unique() -> String {
    let mut bytes = [0; 16];
    kes_crypto::random::fill(&mut bytes);
    format!("{:032x}", u128::from_be_bytes(bytes))
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
