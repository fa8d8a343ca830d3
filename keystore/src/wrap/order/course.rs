use std::sync::Arc;

use parking_lot::Mutex;

/// What is done if a store carries a change out after the change has failed for its caller.
pub type Late = Box<dyn FnOnce() + Send>;

/// What becomes of a change. It outlives the change.
#[derive(Clone, Default)]
pub struct Course(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The call has ended with an error, and parts of the change may be carried out after it.
    has_failed: bool,
    /// The store has carried the change out.
    is_done: bool,
    /// No part of the change is carried out any more.
    is_settled: bool,
    late: Option<Late>,
}

impl Course {
    /// Does something once the store carries the change out, or at once if it has done so. For a
    /// change whose call has failed.
    pub fn on_late(&self, late: Late) {
        let mut state = self.0.lock();
        if state.is_done {
            drop(state);
            late();
        } else if !state.is_settled {
            state.late = Some(late);
        }
    }

    /// The call has failed. Whether the store has carried the change out all the same.
    pub(super) fn fail(&self) -> bool {
        let mut state = self.0.lock();
        state.has_failed = true;
        state.is_done
    }

    /// The store has carried the change out. Whether the call had failed before, and what is to be
    /// done now.
    pub(super) fn carried_out(&self) -> (bool, Option<Late>) {
        let mut state = self.0.lock();
        state.is_done = true;
        (state.has_failed, state.late.take())
    }

    /// Nothing more is carried out.
    pub(super) fn settle(&self) {
        let late = {
            let mut state = self.0.lock();
            state.is_settled = true;
            state.late.take()
        };
        drop(late);
    }
}
