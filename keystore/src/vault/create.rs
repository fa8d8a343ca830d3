//! The create of a key.
//!
//! An engine of version 2 refuses to write a version that is not the first. An engine of version 1
//! has no compare-and-set, so a server writes a key only while it holds the create lock of that
//! key (`lock`). Where the policy does not grant the rights that the lock needs, the server looks
//! for the key, writes it and reads it back.

/// Reconciliation of unknown outcomes.
mod reconcile;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kes_api::KeyName;
use tokio::time;

use super::KIND;
use super::call::Call;
use super::engine::{Engine, Guard, Outcome};
use super::fault::Fault;
use super::listing::prefetch::Prefetch;
use super::lock::{Claim, CreateLock, DEAD, DEAD_HARMLESS, MAX_HOLD};
use super::paths::Form;
use super::transit::Transit;
use crate::config::KvVersion;
use crate::jitter::jitter;
use crate::remote::Sends;
use crate::{Error, Value};

/// How long a create tries to get the create lock.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// A server that did not get the lock tries again after this time: about the duration of a create,
/// doubled each time up to the second.
const STEP_BACK: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(500)];

/// Creates keys.
pub(super) struct Creator {
    engine: Arc<Engine>,
    lock: Arc<CreateLock>,
    transit: Option<Arc<Transit>>,
    prefetch: Arc<Prefetch>,
}

impl Creator {
    pub(super) fn new(
        engine: Arc<Engine>,
        transit: Option<Arc<Transit>>,
        prefetch: Arc<Prefetch>,
    ) -> Self {
        let lock = Arc::new(CreateLock::new(Arc::clone(&engine)));
        Self { engine, lock, transit, prefetch }
    }

    /// Creates a key by some requests. No other change of the key is made on this server as long
    /// as one of them may be carried out (`Order`).
    pub(super) async fn create(
        self: &Arc<Self>,
        name: &KeyName,
        value: &Value,
        sends: &Arc<Sends>,
    ) -> Result<(), Error> {
        let engine = &*self.engine;
        // Most often the key exists: clients create their key at each start.
        let unseen = match engine.exists(name).await {
            // Below `data/` of an engine of version 2 it is a key for `version: v2`.
            Ok(true) if engine.is_misread().await => return Err(engine.is_versioned()),
            Ok(true) => return Err(Error::Exists { name: *name }),
            Ok(false) => None,
            Err(fault) if fault.is_forbidden() => Some(fault),
            Err(fault) => return Err(engine.failed(fault).await),
        };
        let _change = self.prefetch.change();
        let form = engine.form().await.map_err(Fault::into_error)?;
        engine.is_at_engine(form)?;
        if let Some(fault) = unseen
            && (engine.version == KvVersion::V1 || form != Some(Form::Versioned))
        {
            // Only an engine of version 2 can be trusted not to overwrite what we may not read.
            return Err(engine.failed(fault).await);
        }
        let wrapped;
        let stored = match &self.transit {
            None => value.expose(),
            Some(transit) => {
                wrapped = transit.wrap(value.expose()).await.map_err(Fault::into_error)?;
                wrapped.as_str()
            }
        };
        match (engine.version, form) {
            // An engine of version 2 takes some paths for settings of its own.
            (KvVersion::V1, Some(Form::Versioned)) => Err(engine.is_versioned()),
            (KvVersion::V1, _) | (KvVersion::V2, Some(Form::Plain)) => {
                self.create_under_lock(name, stored, sends).await
            }
            (KvVersion::V2, _) => {
                if form == Some(Form::Versioned) {
                    sends.overwrite_nothing();
                }
                let call = engine.write_new(name, stored, sends);
                match engine.insert(name, stored, &call, Guard::CompareAndSet).await {
                    Outcome::Known(result) => result,
                    Outcome::Unknown(error) => Err(error),
                }
            }
        }
    }

    /// Creates a key while no other server may, as far as the policy allows the create lock.
    async fn create_under_lock(
        self: &Arc<Self>,
        name: &KeyName,
        stored: &str,
        sends: &Arc<Sends>,
    ) -> Result<(), Error> {
        let queue = self.lock.queue(name);
        let (_turn, mut outdated) = match queue.try_lock() {
            Ok(turn) => (turn, false),
            Err(_) => (queue.lock().await, true),
        };

        let start = Instant::now();
        let mut pause = STEP_BACK[0];
        while start.elapsed() < MAX_WAIT {
            // The first time the caller has just looked, and there is seldom another server.
            if outdated && self.engine.exists(name).await.map_err(Fault::into_error)? {
                return Err(Error::Exists { name: *name });
            }
            outdated = true;
            if !self.lock.is_permitted(name).await.map_err(Fault::into_error)? {
                return self.create_without_lock(name, stored, sends).await;
            }
            match self.lock.acquire(name).await {
                Ok(Some(claim)) => {
                    return self.create_as_holder(name, stored, claim, sends).await;
                }
                Ok(None) => {}
                // A right that was granted before is missing now.
                Err(fault) if fault.is_forbidden() => {
                    self.lock.note_missing_right(&fault);
                    continue;
                }
                Err(fault) => return Err(fault.into_error()),
            }
            time::sleep(jitter(pause)).await;
            pause = (pause * 2).min(STEP_BACK[1]);
        }
        Err(Error::Locked {
            store: KIND,
            reason: format!(
                "another server is creating key '{name}', or died while it did; if it died, the name \
                 is free again within {} s, or {} s if the policy of its role grants \"update\"",
                DEAD_HARMLESS.as_secs(),
                DEAD.as_secs()
            ),
        })
    }

    /// Writes the key where the policy does not allow the lock.
    async fn create_without_lock(
        self: &Arc<Self>,
        name: &KeyName,
        stored: &str,
        sends: &Arc<Sends>,
    ) -> Result<(), Error> {
        let call = self.engine.write_new(name, stored, sends);
        match self.engine.insert(name, stored, &call, Guard::Look).await {
            Outcome::Known(result) => result,
            Outcome::Unknown(error) => {
                self.reconcile(*name, stored, call, None);
                Err(error)
            }
        }
    }

    /// Writes the key and releases the lock. A lock whose write may yet be carried out is released
    /// in the background, when that is known.
    async fn create_as_holder(
        self: &Arc<Self>,
        name: &KeyName,
        stored: &str,
        claim: Claim,
        sends: &Arc<Sends>,
    ) -> Result<(), Error> {
        let call = self.engine.write_new(name, stored, sends);
        match self.write_as_holder(name, stored, &call, &claim).await {
            Outcome::Known(result) if sends.are_settled() => {
                self.lock.release(claim).await;
                result
            }
            Outcome::Known(result) => {
                self.release_when_settled(claim, sends);
                result
            }
            Outcome::Unknown(error) => {
                self.reconcile(*name, stored, call, Some(claim));
                Err(error)
            }
        }
    }

    async fn write_as_holder(
        &self,
        name: &KeyName,
        stored: &str,
        call: &Call,
        claim: &Claim,
    ) -> Outcome {
        let engine = &*self.engine;
        // Another server may have created the key before this one got the lock.
        match engine.exists(name).await {
            Ok(false) => {}
            Ok(true) => return Outcome::Known(Err(Error::Exists { name: *name })),
            Err(fault) => return Outcome::Known(Err(fault.into_error())),
        }
        let mut patience = engine.session.patience();
        let (mut unsure, mut repeated) = (false, false);
        loop {
            if claim.since.elapsed() > MAX_HOLD {
                let error = Error::Unreachable { reason: "Vault is too slow".to_owned() };
                return if unsure { Outcome::Unknown(error) } else { Outcome::Known(Err(error)) };
            }
            match engine.session.try_call(call).await {
                Ok(_) => break,
                Err(_) if call.is_done() => break,
                Err(fault) if fault.is_unsure() && !unsure => unsure = true,
                Err(fault) if patience.outlasts(fault.may_pass()).await => {
                    unsure |= fault.is_unsure()
                }
                Err(fault) => {
                    unsure |= fault.is_unsure();
                    let result = engine.refused(name, stored, call, repeated, fault).await;
                    return Outcome::of(result, unsure);
                }
            }
            repeated = true;
        }
        // A program that does not use the lock may have overwritten it.
        Outcome::Known(engine.confirm(name, stored).await)
    }
}
