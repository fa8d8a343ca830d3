//! Reconciliation of unknown outcomes: Vault went away while a server wrote a key, and nobody knows
//! whether the write was carried out. Until its claim is dead no server could create the key, so
//! the outcome is found out as soon as Vault is back. The lock is released when no request that may
//! write the key is under way any more; on this server no other change of the key is made before
//! that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kes_api::KeyName;
use tokio::time;
use zeroize::Zeroizing;

use super::super::call::Call;
use super::super::lock::{AGAIN, Claim, MAX_HOLD};
use super::Creator;
use crate::Error;
use crate::jitter::jitter;
use crate::remote::Sends;

/// A write without an answer is repeated until its claim is this old, and not later: what was sent
/// by then is carried out, or never will be, before others take the claim for dead
/// ([`DEAD`](super::super::lock::DEAD)).
const MAX_UNSURE: Duration = Duration::from_secs(25);

impl Creator {
    /// Writes the key again in the background until the outcome is known: it is the same key, and
    /// no other server writes one while the claim exists. Where the policy does not allow claims,
    /// it looks for the key before each write.
    pub(super) fn reconcile(
        self: &Arc<Self>,
        name: KeyName,
        stored: &str,
        call: Call,
        claim: Option<Claim>,
    ) {
        let permit = self.lock.background_permit(claim.as_ref());
        let Some(permit) = permit else { return };
        let (creator, stored) = (Arc::clone(self), Zeroizing::new(stored.to_owned()));
        tokio::spawn(async move {
            let change = creator.prefetch.change();
            let since = claim.as_ref().map_or_else(Instant::now, |claim| claim.since);
            let mut is_known = false;
            while !is_known && since.elapsed() < MAX_UNSURE {
                time::sleep(jitter(AGAIN)).await;
                // Others may have taken the claim for dead by then.
                let is_held = match &claim {
                    Some(claim) if claim.since.elapsed() > MAX_HOLD => {
                        creator.lock.is_held(claim).await
                    }
                    _ => true,
                };
                if !is_held {
                    break;
                }
                is_known = creator.is_written(&name, &stored, &call, claim.is_some()).await;
            }
            let settled = call.request.sends.as_ref().map(|sends| sends.settled());
            drop((call, stored));
            if let Some(settled) = settled {
                settled.await;
            }
            drop(change);
            if let Some(claim) = claim {
                creator.lock.release_eventually(&claim, permit).await;
            }
        });
    }

    /// Writes the key again. Returns whether the key exists now.
    async fn is_written(&self, name: &KeyName, stored: &str, call: &Call, has_lock: bool) -> bool {
        let engine = &*self.engine;
        if call.is_done() {
            return true;
        }
        let exists = |result| {
            if matches!(result, Ok(())) {
                call.carried_out();
            }
            matches!(result, Ok(()) | Err(Error::Exists { .. }))
        };
        if !has_lock && let Some(result) = engine.look(name, stored, call).await {
            return exists(result);
        }
        match engine.session.try_call(call).await {
            Ok(_) => exists(Ok(())),
            Err(fault) => exists(engine.refused(name, stored, call, true, fault).await),
        }
    }

    /// Releases the lock in the background, when no request that may write the key is under way
    /// any more.
    pub(super) fn release_when_settled(self: &Arc<Self>, claim: Claim, sends: &Sends) {
        let Some(permit) = self.lock.background_permit(Some(&claim)) else { return };
        let (creator, settled) = (Arc::clone(self), sends.settled());
        tokio::spawn(async move {
            settled.await;
            creator.lock.release_eventually(&claim, permit).await;
        });
    }
}
