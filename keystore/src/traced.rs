//! The trace that a call is part of, which a store that is a server is told.

use http::HeaderValue;

tokio::task_local! {
    /// The header `traceparent` of the requests that are made for a call.
    static PARENT: HeaderValue;
}

/// Makes a call as a part of a trace: `traceparent` is the value of that header (W3C Trace Context).
/// What the call has a task of its own do is a part of it only if the store says so.
pub async fn traced_call<T>(traceparent: String, call: impl Future<Output = T>) -> T {
    within(HeaderValue::try_from(traceparent).ok(), call).await
}

/// Does something as a part of the trace of a call, of which this is the header.
pub(crate) async fn within<T>(parent: Option<HeaderValue>, work: impl Future<Output = T>) -> T {
    match parent {
        // Each layer around it would have a copy of a large future on the stack.
        Some(parent) => PARENT.scope(parent, Box::pin(work)).await,
        None => work.await,
    }
}

/// The header for a request of the call that this is in; `None` if that is part of no trace.
pub(crate) fn traceparent() -> Option<HeaderValue> {
    PARENT.try_with(Clone::clone).ok()
}
