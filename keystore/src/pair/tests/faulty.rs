use std::sync::atomic::AtomicUsize;

use tokio::sync::watch;

use super::*;

/// Two stores in memory that outlive the process under test, and what its calls meet.
#[derive(Clone)]
pub(super) struct World(Arc<Shared>);

struct Shared {
    stores: [MemoryStore; 2],
    calls: AtomicUsize,
    plan: Mutex<Plan>,
    is_paused: watch::Sender<bool>,
}

/// What calls meet.
#[derive(Clone, Copy, Default)]
struct Plan {
    /// The process ends before this call, or after it has been carried out.
    kill: Option<(usize, When)>,
    /// A store is away from this call on, for so long.
    outage: Option<(usize, Side, When, Duration)>,
    /// Since when it is.
    away_since: Option<time::Instant>,
    away: [Option<bool>; 2],
    slow: [Duration; 2],
    pause_at: Option<usize>,
}

/// At which moment of its first call something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Before,
    After,
}

/// The stores as the process calls them.
pub(super) struct Calls {
    world: World,
    side: Side,
}

impl World {
    pub(super) fn new() -> Self {
        let stores = [MemoryStore::new(), MemoryStore::new()];
        let (calls, plan) = (AtomicUsize::new(0), Mutex::default());
        Self(Arc::new(Shared { stores, calls, plan, is_paused: watch::Sender::new(true) }))
    }

    /// A process that has just started.
    pub(super) fn pair(&self, stage: Stage) -> Pair<Calls, Calls> {
        self.pair_of(stage, Arc::default())
    }

    /// A pair of a process, which has one after the other.
    pub(super) fn pair_of(&self, stage: Stage, process: Arc<Notes>) -> Pair<Calls, Calls> {
        let [old, new] = [Side::Old, Side::New].map(|side| Calls { world: self.clone(), side });
        Pair::new(old, new, "both".to_owned(), stage, process)
    }

    /// Puts values into the stores, without a call.
    pub(super) async fn put(&self, key: &str, values: [Option<&str>; 2]) {
        for (store, text) in self.0.stores.iter().zip(values) {
            let _ = store.delete(&name(key)).await;
            if let Some(text) = text {
                store.create(&name(key), &value(text)).await.unwrap();
            }
        }
    }

    /// What the stores have.
    pub(super) async fn held(&self, key: &str) -> [Option<String>; 2] {
        let mut held = [None, None];
        for (held, store) in held.iter_mut().zip(&self.0.stores) {
            *held = store.read(&name(key)).await.ok().map(|value| value.expose().to_owned());
        }
        held
    }

    /// How many calls were made.
    pub(super) fn calls(&self) -> usize {
        self.0.calls.load(Ordering::Relaxed)
    }

    pub(super) fn kill_at(&self, call: usize, when: When) {
        self.0.plan.lock().kill = Some((call, when));
    }

    pub(super) fn outage_at(&self, call: usize, side: Side, when: When, time: Duration) {
        self.0.plan.lock().outage = Some((call, side, when, time));
    }

    /// Nothing happens any more.
    pub(super) fn heal(&self) {
        *self.0.plan.lock() = Plan::default();
        self.0.calls.store(0, Ordering::Relaxed);
    }

    pub(super) fn away(&self, side: Side, hangs: bool) {
        self.0.plan.lock().away[side as usize] = Some(hangs);
    }

    pub(super) fn back(&self, side: Side) {
        self.0.plan.lock().away[side as usize] = None;
    }

    pub(super) fn slow(&self, side: Side, time: Duration) {
        self.0.plan.lock().slow[side as usize] = time;
    }

    /// This call waits until the others may go on.
    pub(super) fn pause_at(&self, call: usize) {
        self.0.plan.lock().pause_at = Some(call);
    }

    pub(super) fn go_on(&self) {
        self.0.is_paused.send_replace(false);
    }
}

pub(super) fn text_of(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// How long a change that was sent and not answered is not settled.
const KEPT: Duration = Duration::from_secs(30);

fn away() -> Error {
    Error::Unreachable { reason: "a test has it away".to_owned() }
}

impl Calls {
    fn store(&self) -> &MemoryStore {
        &self.world.0.stores[self.side as usize]
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let Shared { calls, plan, is_paused, .. } = &*self.world.0;
        let number = calls.fetch_add(1, Ordering::Relaxed) + 1;
        let mut is_unanswered = false;
        let met = {
            let mut plan = plan.lock();
            if let Some((at, side, when, time)) = plan.outage
                && side == self.side
                && number >= at
            {
                let since = *plan.away_since.get_or_insert_with(|| {
                    is_unanswered = when == When::After;
                    time::Instant::now()
                });
                if since.elapsed() < time && !is_unanswered {
                    return Err(away());
                }
            }
            *plan
        };
        match met.kill {
            Some((at, When::Before)) if number >= at => std::future::pending().await,
            Some((at, When::After)) if number > at => std::future::pending().await,
            _ => {}
        }
        match met.away[self.side as usize] {
            Some(true) => std::future::pending().await,
            Some(false) => return Err(away()),
            None => {}
        }
        time::sleep(met.slow[self.side as usize]).await;
        if met.pause_at == Some(number) {
            is_paused.subscribe().wait_for(|is_paused| !is_paused).await.unwrap();
        }
        let result = call.await;
        if met.kill == Some((number, When::After)) {
            std::future::pending().await
        }
        if is_unanswered {
            // As any store does as long as it may carry out what it was sent.
            let kept = Unsettled::current();
            tokio::spawn(async move {
                time::sleep(KEPT).await;
                drop(kept);
            });
            return Err(away());
        }
        result
    }
}

impl KeyStore for Calls {
    async fn create(&self, name: &KeyName, value: &Value) -> Result<(), Error> {
        self.call(self.store().create(name, value)).await
    }

    async fn read(&self, name: &KeyName) -> Result<Value, Error> {
        self.call(self.store().read(name)).await
    }

    async fn delete(&self, name: &KeyName) -> Result<(), Error> {
        self.call(self.store().delete(name)).await
    }

    async fn list(&self, pattern: &ListPattern<'_>, limit: Limit) -> Result<Page, Error> {
        self.call(self.store().list(pattern, limit)).await
    }

    fn state(&self) -> State {
        match self.world.0.plan.lock().away[self.side as usize] {
            None => State::Reachable { latency: Duration::ZERO },
            Some(_) => State::Unreachable,
        }
    }

    fn kind(&self) -> Kind {
        Kind::new(&"faulty")
    }

    fn trouble(&self) -> Option<String> {
        let away = self.world.0.plan.lock().away[self.side as usize];
        away.map(|_| "a test has it away".to_owned())
    }
}
