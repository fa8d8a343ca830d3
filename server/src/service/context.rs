use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::request::Parts;
use kes_api::Operation;
use kes_audit::record::Contexts;
use kes_policy::{Permit, StoreGate, StoreLimit, StoreLimited, StorePlace, StoreTrace};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant as Time;

use super::ApiService;
use super::budget::{Caller, Reservation};
use super::error::Error;
use super::generation::{ApiSettings, Generation};
use super::limits::{self, Limited, Limiter, Patience, Turn};
use super::progress::Progress;
use super::router::Target;
use super::store_calls::CallKind;
use crate::observe::metrics::LimitKind;
use crate::observe::traces::Trace;
use crate::transport::{Class, Peer};

/// The context of a request. It is made when the request arrives and its route is found, and passed
/// by reference to everything that admits, limits, serves or records the request.
pub(crate) struct RequestContext<'r> {
    pub(crate) service: &'r ApiService,
    /// What the request is served with, even if a reload replaces it meanwhile.
    pub(crate) generation: Arc<Generation>,
    /// Its trace, if it is sampled.
    pub(crate) trace: Option<Arc<Trace>>,
    pub(crate) peer: &'r Arc<Peer>,
    /// Method, URI, version and headers.
    pub(crate) head: &'r Parts,
    pub(crate) target: Target<'r>,
    pub(crate) arrived: Instant,
    /// Its number since the server started.
    pub(crate) number: u64,
    /// What it is about, if that is recorded.
    pub(crate) objects: OnceLock<Box<Contexts>>,
    /// Set once it begins to change a key.
    pub(crate) change: OnceLock<Arc<Progress>>,
}

impl RequestContext<'_> {
    /// What the request asks for.
    pub(crate) fn operation(&self) -> Operation {
        self.target.route.operation
    }

    /// The configuration of its API.
    #[expect(clippy::indexing_slicing, reason = "there is one for each operation")]
    pub(crate) fn api(&self) -> &ApiSettings {
        &self.generation.apis[self.operation().index()]
    }

    /// When its operation has to be finished; `None` for a stream.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.api().timeout.map(|timeout| self.arrived + timeout)
    }

    /// Reserves memory for its body or its answer.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<Reservation, Error> {
        let (peer, class) = (self.peer, self.class());
        let caller = Caller { class, identity: peer.identity.ok(), waiting: peer.waiting() };
        self.service.budgets.reserve(caller, bytes).await.map_err(Error::TooManyBodies)
    }

    /// Waits until the limits of its identity let it run. The turn is to be kept while it runs.
    pub(crate) async fn enter(&self, permit: &Permit<'_>) -> Result<Option<Turn>, Error> {
        if !permit.is_limited() {
            return Ok(None);
        }
        let forwarded = if self.peer.is_forwarded() { Some(self.enter_forwarded()?) } else { None };
        let at_once = match self.limiter() {
            // Boxed: the future of each request would have its size.
            Some(limiter) => Box::pin(limiter.enter(self.patience()))
                .await
                .map_err(|limited| Error::Limited(self.refused(limited)))?,
            None => None,
        };
        Ok(Turn::of([forwarded, at_once]))
    }

    /// Its place among the requests that TLS proxies have forwarded for its client.
    fn enter_forwarded(&self) -> Result<OwnedSemaphorePermit, Error> {
        let place = self.service.forwarded.enter(self.class(), self.peer.identity.ok());
        place.ok_or_else(|| {
            let (kind, retry_after) = (LimitKind::RequestsAtOnce, Duration::from_secs(1));
            Error::Limited(self.refused(Limited { kind, retry_after }))
        })
    }

    /// The limits of its identity.
    fn limiter(&self) -> Option<&Limiter> {
        self.generation.limiters.of(&self.peer.identity.ok()?)
    }

    /// How long it may wait for its turn.
    fn patience(&self) -> Patience<'_> {
        let now = Time::now();
        let left = self.deadline().map(|end| Time::from_std(end).saturating_duration_since(now));
        Patience { end: now + limits::wait(left), waiting: &self.service.limited_waiting }
    }

    fn refused(&self, limited: Limited) -> Limited {
        self.service.metrics.limited.inc(limited.kind);
        limited
    }

    /// The class of its client.
    pub(crate) fn class(&self) -> Class {
        self.generation.class(self.peer)
    }

    /// Keeps what it is about for its record.
    pub(crate) fn note_objects<'a>(&self, contexts: impl IntoIterator<Item = &'a [u8]>) {
        if self.service.logs.file.wants_contexts() {
            let _once = self.objects.set(Box::new(Contexts::of(contexts)));
        }
    }

    /// Ends its trace, if it has one. What the key store does for it after that is still told.
    pub(crate) fn end_trace(&self, status: u16) {
        if let Some(trace) = &self.trace {
            trace.end(self.operation(), self.head, status, self.elapsed());
        }
    }

    /// The time since it arrived.
    pub(crate) fn elapsed(&self) -> Duration {
        self.arrived.elapsed()
    }
}

/// The gate of its own calls to the key store: the limit of its identity a second, then the budgets
/// of calls at a time.
impl StoreGate for RequestContext<'_> {
    fn enter(&self) -> Pin<Box<dyn Future<Output = Result<StorePlace, StoreLimited>> + Send + '_>> {
        Box::pin(async {
            if let Some(limiter) = self.limiter() {
                limiter.call_store(self.patience()).await.map_err(|limited| {
                    let Limited { retry_after, .. } = self.refused(limited);
                    StoreLimited { limit: StoreLimit::PerSecond, retry_after }
                })?;
            }
            let (class, identity) = (self.class(), self.peer.identity.ok());
            let kind = CallKind::of(self.operation());
            let place = self.service.store_calls.enter(class, identity, kind).await?;
            Ok(StorePlace::new(place))
        })
    }

    fn trace(&self) -> Option<Arc<dyn StoreTrace>> {
        Some(Arc::clone(self.trace.as_ref()?) as Arc<dyn StoreTrace>)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use futures_util::FutureExt as _;
    use kes_api::Identity;
    use kes_policy::{Limit, LimitSettings, Policies, Policy};

    use super::*;
    use crate::service::admit::admit;

    fn who(name: &str) -> Identity {
        Identity::of_public_key(name.as_bytes())
    }

    /// With an admin, and an identity `limited` that may do everything once a second.
    fn service() -> ApiService {
        let once = NonZeroU32::new(1).map(Limit::AtMost);
        let limits = LimitSettings {
            requests_per_second: once,
            store_calls_per_second: once,
            ..LimitSettings::default()
        };
        let policy = Policy::new("policy", ["*"], []).limiting(limits);
        let policies = Policies::new(Some(who("admin")), vec![(policy, vec![who("limited")])]);
        ApiService::in_memory(policies.unwrap())
    }

    /// One passes, one waits, and there is no room for a third.
    #[tokio::test]
    async fn a_request_passes_the_limits_of_its_identity() {
        let service = service();
        let limited = &service.metrics.limited;
        let path = "/v1/key/generate/k";
        service.with_request(Ok(who("limited")), "PUT", path, |context| {
            let permit = admit(context, None).unwrap();
            assert!(context.enter(&permit).now_or_never().unwrap().unwrap().is_none());
            let mut waits = Box::pin(context.enter(&permit));
            assert!((&mut waits).now_or_never().is_none());
            let refused = context.enter(&permit).now_or_never().unwrap().unwrap_err();
            assert_eq!(refused.retry_after(), Some(Duration::from_secs(2)));
            assert_eq!(refused.message().text, "too many requests per second");
            assert_eq!(limited.get(LimitKind::RequestsPerSecond), 1);
        });
        service.with_request(Ok(who("admin")), "PUT", path, |context| {
            let permit = admit(context, None).unwrap();
            assert!((0..100).all(|_| context.enter(&permit).now_or_never().unwrap().is_ok()));
        });
    }

    #[tokio::test]
    async fn its_calls_to_the_key_store_pass_a_limit_of_their_own() {
        let service = service();
        service.with_request(Ok(who("limited")), "PUT", "/v1/key/generate/k", |context| {
            let permit = admit(context, None).unwrap();
            assert!(permit.enter_store().now_or_never().unwrap().is_ok());
            let mut waits = Box::pin(permit.enter_store());
            assert!((&mut waits).now_or_never().is_none());
            let Err(refused) = permit.enter_store().now_or_never().unwrap() else { panic!() };
            let refused = Error::from(kes_keys::Error::from(refused));
            assert_eq!(refused.retry_after(), Some(Duration::from_secs(2)));
            assert_eq!(refused.message().text, "too many key store calls per second");
            assert_eq!(service.metrics.limited.get(LimitKind::StoreCallsPerSecond), 1);
            // Requests are counted apart.
            assert!(context.enter(&permit).now_or_never().unwrap().is_ok());
        });
    }
}
