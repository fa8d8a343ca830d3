//! What callers have of their own: each known identity, all strangers together, and the admin.

use std::collections::HashMap;

use kes_api::Identity;
use parking_lot::Mutex;

use crate::transport::Class;

/// A budget, or what else belongs to one caller. Clones of it share its state.
pub(super) struct ByCaller<T> {
    admin: T,
    strangers: T,
    /// Of the identities that had a policy when they first called: as many as configurations name.
    known: Mutex<HashMap<Identity, T>>,
}

impl<T: Clone> ByCaller<T> {
    pub(super) fn new(admin: T, strangers: T) -> Self {
        Self { admin, strangers, known: Mutex::default() }
    }

    /// That of a caller. `make` makes that of a known identity which has not called before.
    pub(super) fn of(
        &self,
        class: Class,
        identity: Option<Identity>,
        make: impl FnOnce() -> T,
    ) -> T {
        match (class, identity) {
            (Class::Admin, _) => self.admin.clone(),
            (Class::Known, Some(identity)) => {
                self.known.lock().entry(identity).or_insert_with(make).clone()
            }
            _ => self.strangers.clone(),
        }
    }
}
