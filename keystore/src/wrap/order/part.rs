//! A change that is made by changes of several stores, its parts. Each part may outlast its call, and
//! the change is not settled before all of them are. What one store says of its part - that it
//! overwrites nothing, that it was carried out - is not said of the whole change.

use std::sync::Arc;

use super::{CURRENT, Unsettled};

/// Of a part, what is shared by all that may still carry it out.
pub(super) type Token = Option<Arc<()>>;

/// One part of the change that is being performed.
pub(crate) struct Part(Option<Unsettled>);

impl Unsettled {
    /// Declares that this create overwrites no key, whenever it is carried out. Other creates need
    /// not wait for it then.
    pub fn overwrites_nothing(&self) {
        if self.is_whole() {
            self.0.end_overwriting();
            self.0.note_overwrites_nothing();
        }
    }

    /// Declares that the store has carried the change out, early or late. Further parts of it may
    /// still be carried out, and do the same once more.
    pub fn carried_out(&self) {
        if self.is_whole() {
            self.0.carried_out();
        }
    }

    /// Whether it stands for the whole change.
    const fn is_whole(&self) -> bool {
        self.1.is_none()
    }

    /// Makes a call in another task than that of the change, by which it is carried out.
    pub(crate) async fn perform<T>(self, call: impl Future<Output = T>) -> T {
        CURRENT.scope(self, call).await
    }
}

impl Part {
    /// A part of a change; of none where no order is around the store.
    pub(crate) fn of(change: Option<&Unsettled>) -> Self {
        Self(change.map(|whole| Unsettled(Arc::clone(&whole.0), Some(Arc::default()))))
    }

    /// Makes a call by which the part is carried out. What outlasts the call keeps the part.
    pub(crate) async fn run<T>(&self, call: impl Future<Output = T>) -> T {
        match &self.0 {
            Some(part) => CURRENT.scope(part.clone(), call).await,
            None => call.await,
        }
    }

    /// Whether nothing of it can be carried out any more.
    pub(crate) fn is_settled(&self) -> bool {
        let token = self.0.as_ref().and_then(|part| part.1.as_ref());
        token.is_none_or(|token| Arc::strong_count(token) == 1)
    }
}
