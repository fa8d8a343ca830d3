use std::time::{Duration, SystemTime};

/// Is told of the calls to the key store that a traced request makes, or waits for.
pub trait StoreTrace: Send + Sync {
    /// A call begins, or the wait for that of another request. Returns the ID of its span.
    fn call_begins(&self) -> u64;

    /// What a key store that is a server is sent of a call, as the header `traceparent` (W3C Trace
    /// Context): its own spans are below that of the call.
    fn traceparent(&self, span: u64) -> String;

    /// A call has ended, once for each that began, and maybe after the request.
    fn call_ended(&self, call: &StoreCall);
}

/// A call to the key store, as a trace tells it: words of the program and times. There is no room in
/// it for a name, for the text of an error, or for a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreCall {
    /// The ID that [`StoreTrace::call_begins`] returned.
    pub span: u64,
    /// What it did: `create`, `read`, `delete`, `list`.
    pub operation: &'static str,
    /// How it ended: `ok`, or what kind of error it was.
    pub result: &'static str,
    /// Whether the key store failed; that a key is missing or exists is no failure.
    pub is_failure: bool,
    /// Whether another request made it, and this one waited for its result.
    pub is_shared: bool,
    /// When it began, or the wait for it.
    pub began: SystemTime,
    /// How long it took from then on.
    pub took: Duration,
}
