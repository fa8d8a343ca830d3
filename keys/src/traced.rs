//! The calls to the key store as traces tell them. A request that is not traced costs nothing here,
//! not even a look at the clock.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use kes_keystore::{Error, StoreOperation, traced_call};
use kes_policy::{StoreCall, StoreTrace};

/// The trace of the request that a call is made for; `None` if that is not traced.
pub(crate) type Trace = Option<Arc<dyn StoreTrace>>;

/// Makes a call to the key store, and tells the trace how it ended.
pub(crate) async fn traced<T>(
    trace: &Trace,
    operation: StoreOperation,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let Some(trace) = trace else { return call.await };
    let span = trace.call_begins();
    // A call is large, and each layer around it would have a copy on the stack.
    let call = traced_call(trace.traceparent(span), Box::pin(call));
    told(&**trace, span, operation, false, call).await
}

/// Waits for the result of a call that is made for another request, and tells the trace.
pub(crate) async fn waited<T>(
    trace: &Trace,
    operation: StoreOperation,
    result: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let Some(trace) = trace else { return result.await };
    told(&**trace, trace.call_begins(), operation, true, Box::pin(result)).await
}

async fn told<T>(
    trace: &dyn StoreTrace,
    span: u64,
    operation: StoreOperation,
    is_shared: bool,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let (began, start) = (SystemTime::now(), Instant::now());
    let result = call.await;
    let error = result.as_ref().err();
    trace.call_ended(&StoreCall {
        span,
        operation: operation.name(),
        result: error.map_or("ok", Error::class),
        is_failure: error.is_some_and(Error::is_failure),
        is_shared,
        began,
        took: start.elapsed(),
    });
    result
}
