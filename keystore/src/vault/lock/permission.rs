//! Whether the policy grants what an election needs. Policies of many deployments do not: without
//! `list` nobody sees the claims of others. Creates then go on without elections.

use std::time::{Duration, Instant};

use kes_api::KeyName;
use parking_lot::Mutex;

use super::super::Vault;
use super::super::client::Call;
use super::super::engine::{Nothing, delete, read, write};
use super::super::fault::Fault;
use super::super::listing::names;
use super::unique;

/// Where a right was missing it is looked for again after this time: policies change while a
/// server runs.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What is known of the rights.
#[derive(Default)]
pub(super) struct Ability(Mutex<State>);

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Nobody has looked.
    #[default]
    Unknown,
    Able,
    /// A right was missing at that time.
    Unable(Instant),
}

impl Ability {
    fn gain(&self) {
        let before = std::mem::replace(&mut *self.0.lock(), State::Able);
        if matches!(before, State::Unable(_)) {
            tracing::info!("key store: vault: servers can agree on who creates a key");
        }
    }
}

impl Vault {
    /// Notes that a right is missing that elections need, and says once what is lost by that.
    pub(super) fn lose_elections(&self, fault: &Fault) {
        let state = State::Unable(Instant::now());
        let before = std::mem::replace(&mut *self.elections.ability.0.lock(), state);
        if !matches!(before, State::Unable(_))
            && let Some(capability) = fault.missing_right()
        {
            tracing::warn!(
                "key store: vault: two servers that create the same key in the same instant may \
                 both succeed, and one of the two keys is lost: servers agree on one only if the \
                 policy of the role grants \"{capability}\" on \"{}{}/*\" (`kes check` names all \
                 that is missing)",
                self.session.space.prefix(),
                self.paths.all_claims()
            );
        }
    }

    /// Whether the policy grants what the election of the creator of a key needs.
    pub(super) async fn may_elect(&self, name: &KeyName) -> Result<bool, Fault> {
        let state = *self.elections.ability.0.lock();
        let judges_denial = match state {
            State::Able => return Ok(true),
            State::Unable(since) if since.elapsed() < LOOK_AGAIN => return Ok(false),
            // That a right is still missing needs no new login to be believed.
            State::Unable(_) => true,
            State::Unknown => false,
        };
        // Nothing is changed by these: no one has such a claim, and a secret without a field is
        // refused, but only after the rights were looked at.
        let folder = self.paths.claims(name);
        let claim = format!("{folder}/{}", unique());
        let create = write(claim.clone(), &Nothing {});
        for call in [names(&folder), read(claim.clone()), create, delete(claim)] {
            match self.session.call(&Call { judges_denial, ..call }).await {
                Err(fault) if fault.is_forbidden() => {
                    self.lose_elections(&fault);
                    return Ok(false);
                }
                Err(fault) if !fault.status().is_some_and(|status| status.is_client_error()) => {
                    return Err(fault);
                }
                _ => {}
            }
        }
        self.elections.ability.gain();
        Ok(true)
    }
}
