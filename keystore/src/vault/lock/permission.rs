//! Whether the policy grants the rights that create locks need. The policies of many deployments do
//! not: without `list` a server does not see the claims of others. It then creates keys without
//! the lock.

use std::time::{Duration, Instant};

use kes_api::KeyName;
use parking_lot::Mutex;

use super::super::call::{Call, Nothing, delete, read, write};
use super::super::fault::Fault;
use super::super::listing::list_all;
use super::{CreateLock, unique};

/// The rights are looked at again this long after one was missing: policies change while a server
/// runs.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What is known of the rights.
#[derive(Default)]
pub(super) struct Permission(Mutex<State>);

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Nobody has looked.
    #[default]
    Unknown,
    Granted,
    /// A right was missing at that time.
    Missing(Instant),
}

impl CreateLock {
    /// Remembers that a right is missing, and logs once what that means.
    pub(in crate::vault) fn note_missing_right(&self, fault: &Fault) {
        let state = State::Missing(Instant::now());
        let before = std::mem::replace(&mut *self.permission.0.lock(), state);
        if !matches!(before, State::Missing(_))
            && let Some(capability) = fault.missing_right()
        {
            tracing::warn!(
                "key store: vault: two servers that create the same key in the same instant may \
                 both succeed, and one of the two keys is lost: servers agree on one only if the \
                 policy of the role grants \"{capability}\" on \"{}{}/*\" (`kes check` names all \
                 that is missing)",
                self.engine.session.space.prefix(),
                self.engine.paths.all_claims()
            );
        }
    }

    fn note_granted(&self) {
        let before = std::mem::replace(&mut *self.permission.0.lock(), State::Granted);
        if matches!(before, State::Missing(_)) {
            tracing::info!("key store: vault: servers can agree on who creates a key");
        }
    }

    /// Whether the policy grants what the lock of a key needs.
    pub(in crate::vault) async fn is_permitted(&self, name: &KeyName) -> Result<bool, Fault> {
        let state = *self.permission.0.lock();
        let judges_denial = match state {
            State::Granted => return Ok(true),
            State::Missing(since) if since.elapsed() < LOOK_AGAIN => return Ok(false),
            // That a right is still missing is believed without a new login.
            State::Missing(_) => true,
            State::Unknown => false,
        };
        // These change nothing: nobody has such a claim, and Vault refuses a secret without a
        // field, but only after it has looked at the rights.
        let folder = self.engine.paths.claims(name);
        let claim = format!("{folder}/{}", unique());
        let create = write(claim.clone(), &Nothing {});
        for call in [list_all(&folder), read(claim.clone()), create, delete(claim)] {
            match self.engine.session.call(&Call { judges_denial, ..call }).await {
                Err(fault) if fault.is_forbidden() => {
                    self.note_missing_right(&fault);
                    return Ok(false);
                }
                Err(fault) if !fault.status().is_some_and(|status| status.is_client_error()) => {
                    return Err(fault);
                }
                _ => {}
            }
        }
        self.note_granted();
        Ok(true)
    }
}
