//! Reconciliation of unknown outcomes: Vault went away while the lock holder wrote a key, and
//! nobody knows whether the write was carried out. Until its claim is dead no server could create
//! the key, so the outcome is found out as soon as Vault is back, and the lock is released.

use std::sync::Arc;
use std::time::Duration;

use kes_api::KeyName;
use tokio::time;
use zeroize::Zeroizing;

use super::super::call::Call;
use super::super::lock::{AGAIN, Claim, warn_of_leftover};
use super::Creator;
use crate::Error;
use crate::jitter::jitter;

/// A write without an answer is repeated until its claim is this old, and not later: what was sent
/// by then is carried out, or never will be, before others take the claim for dead
/// ([`DEAD`](super::super::lock::DEAD)).
const MAX_UNSURE: Duration = Duration::from_secs(25);

impl Creator {
    /// Writes the key again in the background until the outcome is known: it is the same key, and
    /// no other server writes one while the claim exists.
    pub(super) fn reconcile(
        self: &Arc<Self>,
        name: KeyName,
        stored: &str,
        call: Call,
        claim: Claim,
    ) {
        let Some(permit) = self.lock.background_permit(&claim) else { return };
        let (creator, stored) = (Arc::clone(self), Zeroizing::new(stored.to_owned()));
        tokio::spawn(async move {
            let _change = creator.prefetch.change();
            let engine = &*creator.engine;
            while claim.since.elapsed() < MAX_UNSURE {
                time::sleep(jitter(AGAIN)).await;
                let is_known = match engine.session.try_call(&call).await {
                    Ok(_) => true,
                    Err(fault) => matches!(
                        engine.refused(&name, &stored, &call, true, fault).await,
                        Ok(()) | Err(Error::Exists { .. })
                    ),
                };
                if is_known {
                    creator.lock.release_eventually(&claim, permit).await;
                    return;
                }
            }
            warn_of_leftover(&claim);
        });
    }
}
