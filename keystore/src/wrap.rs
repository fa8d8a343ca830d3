//! Stores around stores: each does one thing for any backend, and is a store itself.
//!
//! A backend knows no time limits, no budgets, no counters and no schedule of checks. Its `open`
//! puts it into these, from the inside out: `Health`, `ConcurrencyLimit`, `Deadline`. Whoever
//! uses the store adds `Metered`.

/// Passes methods of `KeyStore` that a wrapper does not change on to the store within, its field
/// `store`.
macro_rules! pass_on {
    ($($method:ident -> $result:ty),+) => {
        $(fn $method(&self) -> $result {
            self.store.$method()
        })+
    };
}

/// Makes each call of the store within, the field `store`, through a method of the wrapper, which gets
/// what the call does, and the call.
macro_rules! call_through {
    ($method:ident) => {
        async fn create(&self, name: &KeyName, value: &Value) -> Result<(), Error> {
            self.$method(StoreOperation::Create, self.store.create(name, value)).await
        }

        async fn read(&self, name: &KeyName) -> Result<Value, Error> {
            self.$method(StoreOperation::Read, self.store.read(name)).await
        }

        async fn delete(&self, name: &KeyName) -> Result<(), Error> {
            self.$method(StoreOperation::Delete, self.store.delete(name)).await
        }

        async fn list(&self, pattern: &ListPattern<'_>, limit: Limit) -> Result<Page, Error> {
            self.$method(StoreOperation::List, self.store.list(pattern, limit)).await
        }
    };
}

/// A time limit for every call.
mod deadline;

/// Health by regular checks.
pub(crate) mod health;

/// How many calls run at one time.
mod limit;

/// Calls counted and timed.
mod metrics;

/// The order of the changes of each key.
mod order;

#[cfg(test)]
mod testing;

pub use deadline::Deadline;
pub use health::monitor::Monitor;
pub use health::{Check, Health};
pub use limit::{Budgets, ConcurrencyLimit, Slot};
pub use metrics::{Meter, Metered};
pub use order::{
    Change, ChangeKind, Course, Forget, Late, Memory, Order, Predecessor, Question, Succession,
    Turn, Underway, Unsettled,
};
pub(crate) use order::{MAX_DURATION, Part};
