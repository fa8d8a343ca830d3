use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};

use super::fault::Refusal;
use super::sends::Sends;

/// One request.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Below the endpoint, percent-encoded.
    pub(crate) path: String,
    pub(crate) query: Option<Cow<'static, str>>,
    pub(crate) body: Option<Bytes>,
    /// Whether doing it twice is the same as doing it once.
    pub(crate) repeatable: bool,
    /// The longest answer that is accepted, in bytes.
    pub(crate) max_len: usize,
    /// From sending to the last byte of the answer.
    pub(crate) limit: Duration,
    /// The requests of the change that this one makes, if it changes a key.
    pub(crate) sends: Option<Arc<Sends>>,
}

/// A request, and what the protocol of the store adds to it.
pub(crate) trait Exchange: Sync {
    /// What the store says in an answer that is not 2xx.
    type Refusal: Refusal;

    /// The request.
    fn request(&self) -> &Request;

    /// The headers of the request, with the credentials.
    fn headers(&self) -> HeaderMap;

    /// Looks at the headers of an answer, of whatever status.
    fn observe(&self, headers: &HeaderMap);

    /// A name in the request that is no secret, which an error may show if the server repeats it.
    fn name(&self) -> Option<&str>;
}
