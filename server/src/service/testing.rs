//! What the unit tests of the service use: a request as it is when its route is found, without a
//! connection.

use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::Request;
use kes_api::Timestamp;
use kes_api::identity::{Identity, NoIdentity};
use kes_api::route::ROUTES;
use kes_config::Settings;
use kes_keys::{Expiry, Order, SystemClock};
use kes_keystore::config::Location;
use kes_keystore::memory::MemoryStore;
use kes_keystore::{Store, Stores};
use kes_policy::Policies;

use super::budget::Budgets;
use super::context::RequestContext;
use super::denials::Denials;
use super::generation::{ApiSettings, Generation, KeyStore, Keys};
use super::limits::Limiters;
use super::proxies::{ForwardedRequests, Proxies};
use super::refusals::Refusals;
use super::reloads::LastReloads;
use super::router::{self, Routed};
use super::store_calls::StoreCalls;
use super::{ApiService, BuildInfo};
use crate::observe::logging::Logs;
use crate::observe::metrics::Metrics;
use crate::transport::Peer;

impl ApiService {
    /// A service that has no keys yet, and keeps them in memory. Must be called within a tokio
    /// runtime.
    pub(crate) fn in_memory(policies: Policies) -> Self {
        let metrics = Arc::new(Metrics::new());
        let minute = Duration::from_mins(1);
        let expiry = Expiry { any: minute, unused: minute, offline: Duration::ZERO };
        let store =
            KeyStore::new(Stores::One(Store::Memory(MemoryStore::new())), Arc::clone(&metrics));
        let observer = Arc::clone(&metrics);
        let keys = Keys::new(store, Order::default(), expiry, observer, SystemClock);
        let generation = Generation {
            limiters: Limiters::new(&policies, None),
            policies,
            proxies: Proxies::none(),
            keys: Arc::new(keys),
            apis: ROUTES.map(|route| ApiSettings { timeout: route.timeout }),
            location: Location::new("memory"),
            settings: Settings::default(),
            folders: Arc::default(),
            traces: None,
            _in_use: metrics.reloads.begin_generation(),
        };
        Self {
            generation: ArcSwap::from_pointee(generation),
            budgets: Budgets::new(Arc::clone(&metrics)),
            forwarded: ForwardedRequests::new(),
            store_calls: StoreCalls::new(Arc::clone(&metrics)),
            limited_waiting: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            logs: Logs::start(Arc::clone(&metrics)),
            refusals: Arc::new(Refusals::new()),
            denials: Denials::new(),
            reloads: LastReloads::new(Arc::clone(&metrics)),
            metrics,
            changing: Arc::default(),
            started: Instant::now(),
            started_at: Timestamp::now(),
            build: BuildInfo { version: "1.2.3", commit: "unknown" },
        }
    }

    /// Does something with a request that has arrived.
    ///
    /// # Panics
    /// If its path has no route.
    pub(crate) fn with_request<T>(
        &self,
        identity: Result<Identity, NoIdentity>,
        method: &str,
        path: &str,
        work: impl FnOnce(&RequestContext<'_>) -> T,
    ) -> T {
        self.with_request_of(Peer::unconnected(identity), method, path, work)
    }

    /// The same with a request of a peer.
    pub(crate) fn with_request_of<T>(
        &self,
        peer: Peer,
        method: &str,
        path: &str,
        work: impl FnOnce(&RequestContext<'_>) -> T,
    ) -> T {
        let request = Request::builder().method(method).uri(path).body(());
        let (head, ()) = request.unwrap().into_parts();
        let Routed::Found(target) = router::route(head.uri.path(), head.uri.query()) else {
            panic!("{path} has no route")
        };
        work(&RequestContext {
            service: self,
            generation: self.generation.load_full(),
            trace: None,
            peer: &Arc::new(peer),
            head: &head,
            target,
            arrived: Instant::now(),
            number: 1,
            objects: OnceLock::new(),
            change: OnceLock::new(),
        })
    }
}
