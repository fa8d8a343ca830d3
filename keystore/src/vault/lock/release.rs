//! What an election leaves behind when Vault goes away in the middle of it: a claim that could not
//! be taken away, or a key of which nobody knows whether it was written. Both would keep the name
//! from everybody until the claim is dead, so both are put in order as soon as Vault is back.

use std::sync::Arc;
use std::time::Duration;

use kes_api::KeyName;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time;
use zeroize::Zeroizing;

use super::super::client::Call;
use super::super::engine::delete;
use super::super::{Vault, jitter};
use super::{Claim, DEAD};
use crate::Error;

/// A write without an answer is repeated until its claim is this old, and not later: what is sent
/// until then is carried out, or never, before the claim is dead to others ([`DEAD`]).
const MAX_UNSURE: Duration = Duration::from_secs(25);

/// Pause between two tries.
const AGAIN: Duration = Duration::from_millis(250);

/// What is put in order at one time; beyond that a claim stays until it is dead.
pub(super) const MAX_BEHIND: usize = 256;

impl Vault {
    /// Takes a claim away, later if Vault is away.
    pub(super) async fn withdraw(self: &Arc<Self>, claim: Claim) {
        if self.has_removed(&claim).await {
            return;
        }
        let Some(permit) = self.behind(&claim) else { return };
        let vault = Arc::clone(self);
        tokio::spawn(async move { vault.withdraw_in_the_end(&claim, permit).await });
    }

    /// Finds out whether the key of a claim was written, by writing it again: it is the same key,
    /// and nobody else writes one while the claim stands.
    pub(super) fn settle(self: &Arc<Self>, name: KeyName, stored: &str, call: Call, claim: Claim) {
        let Some(permit) = self.behind(&claim) else { return };
        let (vault, stored) = (Arc::clone(self), Zeroizing::new(stored.to_owned()));
        tokio::spawn(async move {
            let _change = vault.ahead.change();
            while claim.since.elapsed() < MAX_UNSURE {
                time::sleep(jitter(AGAIN)).await;
                let settled = match vault.session.try_call(&call).await {
                    Ok(_) => true,
                    Err(fault) => matches!(
                        vault.refused(&name, &stored, &call, true, fault).await,
                        Ok(()) | Err(Error::Exists { .. })
                    ),
                };
                if settled {
                    vault.withdraw_in_the_end(&claim, permit).await;
                    return;
                }
            }
            stays(&claim);
        });
    }

    async fn withdraw_in_the_end(&self, claim: &Claim, _permit: OwnedSemaphorePermit) {
        while claim.since.elapsed() < DEAD {
            if self.has_removed(claim).await {
                return;
            }
            time::sleep(jitter(AGAIN)).await;
        }
        stays(claim);
    }

    /// Whether there is nothing more to do about a claim: it was taken away, or is not there, or may
    /// not be taken away.
    async fn has_removed(&self, claim: &Claim) -> bool {
        // Not waiting for Vault: who asked for the key has waited already.
        match self.session.try_call(&delete(claim.path.clone())).await {
            Ok(_) => true,
            Err(fault) if fault.is_forbidden() => {
                self.lose_elections(&fault);
                stays(claim);
                true
            }
            Err(fault) => {
                tracing::debug!("key store: vault: claim '{}' is not removed: {fault}", claim.path);
                false
            }
        }
    }

    fn behind(&self, claim: &Claim) -> Option<OwnedSemaphorePermit> {
        let permit = Arc::clone(&self.elections.behind).try_acquire_owned().ok();
        if permit.is_none() {
            stays(claim);
        }
        permit
    }
}

fn stays(claim: &Claim) {
    tracing::warn!(
        "key store: vault: claim '{}' stays behind: nobody can create its key for {} minutes",
        claim.path,
        DEAD.as_secs() / 60
    );
}
