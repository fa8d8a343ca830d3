//! The create lock of a key, for engines of KV version 1, which have no compare-and-set.
//!
//! Of any number of our servers that create one key at once exactly one holds its lock and writes
//! it. The lock of a key is a folder in Vault. Each server writes a claim of its own into the
//! folder, and then lists it:
//!
//! 1. A server holds the lock if its claim is the only one. Two servers never hold it together:
//!    each lists after its own claim is written, so the one that wrote last sees the claim of the
//!    other. All these reads ask for the latest state (`consistency`). A server whose own claim is
//!    missing from the list looks again (the node may lag all the same), and then starts again
//!    (another server took its claim for dead).
//! 2. The lock holder looks for the key once more, because another server may have created it in
//!    between, writes it, reads it back, and removes its claim. Until then no other server can
//!    hold the lock.
//! 3. Of several servers with a claim, the one with the smallest claim waits until it is alone. The
//!    others remove theirs and try again a little later. Most often they then find the key.
//! 4. The claim of a server that died would block the key. Another server removes it after it has
//!    seen it for `DEAD`: by then nothing that the dead server sent can still be carried out. If
//!    Vault refuses that server to overwrite keys, as the claim then says (`overwriting`), it is
//!    removed after `DEAD_HARMLESS`: what is carried out later overwrites nothing.
//!
//! A write without an answer may yet be carried out: the claim stays until no request can be carried
//! out any more (`create/reconcile`). Where the policy does not grant the rights that this needs,
//! keys are created without the lock (`permission`).
//!
//! Two cases remain in which two keys can be created: a server whose machine is stopped for minutes
//! between its last look at the clock and its write, and another program that writes without a
//! claim, such as the reference server. Where the policy grants no `update`, as the documentation
//! says, Vault itself refuses both unless they hit the same instant; the window is one round trip.

/// Whether the policy allows to overwrite keys.
mod overwriting;

/// Whether the policy allows to use locks.
mod permission;

/// Removal of claims.
mod release;

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kes_api::KeyName;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time;

use self::overwriting::Overwriting;
use self::permission::Permission;
pub(super) use self::release::AGAIN;
use super::call::{delete, read, write};
use super::engine::{Engine, LOOK, MAX_LAG};
use super::fault::Fault;
use super::listing::names_in;
use crate::jitter::jitter;
use crate::remote::{Field, text_at};

/// A claim that has been seen for so long is dead. Its server writes within [`MAX_HOLD`], and
/// Vault carries nothing out later than 90 s after it was sent (`default_max_request_duration`).
pub(super) const DEAD: Duration = Duration::from_secs(120);

/// A claim whose server cannot overwrite a key is dead after this time. A server that is alive has
/// sent its write by then ([`MAX_HOLD`]) and waited for its answer; if it is only slow, Vault refuses
/// the later one of two writes.
pub(super) const DEAD_HARMLESS: Duration = Duration::from_secs(15);

/// A claim that is older by its own clock is dead at once: clocks do not differ by that much.
const DEAD_BY_CLOCK: Duration = Duration::from_secs(3600);

/// A server does not write the key if its claim is older.
pub(super) const MAX_HOLD: Duration = Duration::from_secs(10);

/// Claims of other servers that are remembered. There is one for each create at work on another
/// server; a server forgets all of them rather than keep more.
const MAX_SEEN: usize = 4096;

/// The field of a claim that says when it was made, in seconds since 1970.
const CREATED: &str = "created";

/// The field of a claim that says whether its server may overwrite keys: `no`, or there is none.
const OVERWRITES: &str = "overwrites";

/// Creates of one name on this server wait for each other in a queue, so that they do not compete
/// for the lock, also if their callers do not keep the order of changes. This many queues are shared
/// by all names.
const QUEUES: usize = 64;

/// The create locks of all keys, as this server sees them.
pub(super) struct CreateLock {
    engine: Arc<Engine>,
    queues: [tokio::sync::Mutex<()>; QUEUES],
    hasher: RandomState,
    /// Claims of other servers.
    seen: Mutex<HashMap<String, Seen>>,
    permission: Permission,
    overwriting: Overwriting,
    /// Bounds the claims that are removed in the background.
    background: Arc<Semaphore>,
}

/// A claim of another server.
#[derive(Clone, Copy)]
struct Seen {
    first: Instant,
    /// How long after that it is dead.
    dead: Duration,
}

/// Our claim to the create lock of a key.
pub(super) struct Claim {
    id: String,
    path: String,
    pub(super) since: Instant,
    /// Whether this server may overwrite keys, as far as it knows.
    overwrites: bool,
}

impl CreateLock {
    pub(super) fn new(engine: Arc<Engine>) -> Self {
        Self {
            engine,
            queues: std::array::from_fn(|_| tokio::sync::Mutex::default()),
            hasher: RandomState::new(),
            seen: Mutex::default(),
            permission: Permission::default(),
            overwriting: Overwriting::default(),
            background: Arc::new(Semaphore::new(release::MAX_BACKGROUND)),
        }
    }

    /// The queue in which creates of a name on this server wait.
    #[expect(
        clippy::expect_used,
        clippy::indexing_slicing,
        reason = "a remainder is less than the number of queues"
    )]
    pub(super) fn queue(&self, name: &KeyName) -> &tokio::sync::Mutex<()> {
        let at = self.hasher.hash_one(name.as_str()) % (QUEUES as u64);
        &self.queues[usize::try_from(at).expect("it is below 64")]
    }

    /// Tries to get the lock of a key; `None` if another server has precedence.
    pub(super) async fn acquire(self: &Arc<Self>, name: &KeyName) -> Result<Option<Claim>, Fault> {
        let claim = self.claim(name).await?;
        let is_alone = self.wait_until_alone(name, &claim).await;
        if let Ok(true) = is_alone {
            return Ok(Some(claim));
        }
        self.release(claim).await;
        is_alone.map(|_| None)
    }

    /// Writes a new claim.
    async fn claim(self: &Arc<Self>, name: &KeyName) -> Result<Claim, Fault> {
        let session = &self.engine.session;
        let id = unique();
        let path = format!("{}/{id}", self.engine.paths.claims(name));
        let overwrites = self.may_overwrite(name).await;
        let created = now().to_string();
        let mut call = if overwrites {
            write(path.clone(), &Field(CREATED, created))
        } else {
            write(path.clone(), &BTreeMap::from([(CREATED, created.as_str()), (OVERWRITES, "no")]))
        };
        // No other server writes this path, so it may be written twice.
        call.request.repeatable = true;
        let claim = Claim { id, path, since: Instant::now(), overwrites };
        match session.call(&call).await {
            Ok(_) => Ok(claim),
            // Without `update` Vault refuses the second of two writes, if it has the first.
            Err(fault) if fault.is_forbidden() => {
                match session.call(&read(claim.path.clone())).await {
                    Ok(_) => Ok(claim),
                    Err(_) => Err(fault),
                }
            }
            Err(fault) => {
                // Of several endpoints, one before the last may have carried it out.
                self.release(claim).await;
                Err(fault)
            }
        }
    }

    /// Whether our claim is the only one, now or after a while; false if another server has
    /// precedence.
    async fn wait_until_alone(&self, name: &KeyName, claim: &Claim) -> Result<bool, Fault> {
        let folder = self.engine.paths.claims(name);
        while claim.since.elapsed() < MAX_HOLD {
            let claims = names_in(&self.engine.session, &folder).await?;
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
                if !self.remove_dead(&folder, other).await? {
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

    /// Whether a claim of ours may still be there.
    pub(super) async fn is_held(&self, claim: &Claim) -> bool {
        let found = self.engine.session.try_call(&read(claim.path.clone())).await;
        !found.is_err_and(|fault| fault.is_not_found())
    }

    /// Removes the claim of another server if it is dead; whether it was.
    async fn remove_dead(&self, folder: &str, id: &str) -> Result<bool, Fault> {
        let path = format!("{folder}/{id}");
        let seen = self.seen.lock().get(&path).copied();
        let dead = match seen {
            Some(seen) => seen.first.elapsed() >= seen.dead,
            None => self.look_at(folder, &path).await?,
        };
        if dead {
            self.engine.session.call(&delete(path.clone()).of_listed(folder)).await?;
            self.seen.lock().remove(&path);
        }
        Ok(dead)
    }

    /// Looks at a claim that was not seen before. Returns whether it is dead by its clock.
    async fn look_at(&self, folder: &str, path: &str) -> Result<bool, Fault> {
        let first = Instant::now();
        let answer = match self.engine.session.call(&read(path.to_owned()).of_listed(folder)).await
        {
            Ok(answer) => answer,
            // It was removed since the listing.
            Err(fault) if fault.is_not_found() => return Ok(true),
            Err(fault) => return Err(fault),
        };
        let field = |name| {
            text_at(answer.body.expose(), &["data", name])
                .map_err(|bad| Fault::bad_answer(&answer.endpoint, bad))
        };
        let is_harmless = field(OVERWRITES)?.is_some_and(|overwrites| *overwrites == "no");
        self.remember(path, Seen { first, dead: if is_harmless { DEAD_HARMLESS } else { DEAD } });
        let created = field(CREATED)?.and_then(|created| created.parse::<u64>().ok());
        Ok(created.is_some_and(|created| now().saturating_sub(created) > DEAD_BY_CLOCK.as_secs()))
    }

    fn remember(&self, path: &str, claim: Seen) {
        let mut seen = self.seen.lock();
        if seen.len() >= MAX_SEEN {
            seen.retain(|_, seen| seen.first.elapsed() < 2 * DEAD);
        }
        if seen.len() >= MAX_SEEN {
            seen.clear();
        }
        seen.insert(path.to_owned(), claim);
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
