//! Removal of our claims. A claim that cannot be removed because Vault went away would keep the
//! name from all servers until it is dead, so it is removed in the background as soon as Vault is
//! back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time;

use super::super::call::delete;
use super::{Claim, CreateLock, DEAD, DEAD_HARMLESS};
use crate::jitter::jitter;

/// Pause between two tries.
pub(in crate::vault) const AGAIN: Duration = Duration::from_millis(250);

/// Claims that are removed in the background at one time; beyond that a claim stays until it is
/// dead.
pub(super) const MAX_BACKGROUND: usize = 256;

impl CreateLock {
    /// Removes a claim, in the background if Vault is away.
    pub(in crate::vault) async fn release(self: &Arc<Self>, claim: Claim) {
        if self.has_removed(&claim).await {
            return;
        }
        let Some(permit) = self.background_permit(Some(&claim)) else { return };
        let lock = Arc::clone(self);
        tokio::spawn(async move { lock.release_eventually(&claim, permit).await });
    }

    /// Removes a claim as soon as Vault is back.
    pub(in crate::vault) async fn release_eventually(
        &self,
        claim: &Claim,
        _permit: OwnedSemaphorePermit,
    ) {
        while claim.since.elapsed() < DEAD {
            if self.has_removed(claim).await {
                return;
            }
            time::sleep(jitter(AGAIN)).await;
        }
        warn_of_leftover(claim);
    }

    /// Whether nothing more can be done about a claim: it was removed, or does not exist, or the
    /// policy does not allow to remove it.
    async fn has_removed(&self, claim: &Claim) -> bool {
        // Without waiting for Vault: the client that asked for the key has waited already.
        match self.engine.session.try_call(&delete(claim.path.clone())).await {
            Ok(_) => true,
            Err(fault) if fault.is_forbidden() => {
                self.note_missing_right(&fault);
                warn_of_leftover(claim);
                true
            }
            Err(fault) => {
                tracing::debug!("key store: vault: claim '{}' is not removed: {fault}", claim.path);
                false
            }
        }
    }

    /// A place among the claims that are removed, and the keys that are written again, in the
    /// background; `None` if there are too many.
    pub(in crate::vault) fn background_permit(
        &self,
        claim: Option<&Claim>,
    ) -> Option<OwnedSemaphorePermit> {
        let permit = Arc::clone(&self.background).try_acquire_owned().ok();
        if permit.is_none()
            && let Some(claim) = claim
        {
            warn_of_leftover(claim);
        }
        permit
    }
}

/// Logs that a claim was not removed.
fn warn_of_leftover(claim: &Claim) {
    tracing::warn!(
        "key store: vault: claim '{}' stays behind: nobody can create its key for {} s",
        claim.path,
        if claim.overwrites { DEAD } else { DEAD_HARMLESS }.as_secs()
    );
}
