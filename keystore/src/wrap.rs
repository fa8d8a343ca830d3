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

pub use deadline::Deadline;
pub use health::monitor::Monitor;
pub use health::{Check, Health};
pub use limit::{Budgets, ConcurrencyLimit, Slot};
pub use metrics::{Meter, Metered};
pub use order::{Change, Course, Late, Memory, Order, Turn, Unsettled};
