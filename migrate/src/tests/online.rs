//! Copies beside a server that changes keys between any two calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kes_api::{KeyName, ListPattern};
use kes_keystore::memory::MemoryStore;
use kes_keystore::{
    Error, ForeignNames, Inventory, KeyStore, Kind, Limit, NameRules, Page, State, Value,
};
use tokio::time::Instant;

use crate::testing::{Call, Fault, Faulty, name_of, options, run, stored, value};
use crate::{Existing, Options};

/// What the server does with key `k`, in the order in which a server with two stores does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    DeleteOld,
    DeleteNew,
    /// With another value.
    CreateOld,
    CreateNew,
}

/// Two stores, and what is done before the calls with these numbers.
struct World {
    stores: [MemoryStore; 2],
    calls: AtomicUsize,
    steps: Vec<(usize, Step)>,
}

struct Side {
    world: Arc<World>,
    at: usize,
}

impl World {
    async fn with(steps: Vec<(usize, Step)>) -> (Arc<Self>, [Side; 2]) {
        let stores = [MemoryStore::new(), MemoryStore::new()];
        stores[0].create(&name_of("k"), &value("first")).await.unwrap();
        let world = Arc::new(Self { stores, calls: AtomicUsize::new(0), steps });
        let sides = [0, 1].map(|at| Side { world: Arc::clone(&world), at });
        (world, sides)
    }

    async fn held(&self) -> [Option<String>; 2] {
        let mut held = [None, None];
        for (held, store) in held.iter_mut().zip(&self.stores) {
            *held = store.read(&name_of("k")).await.ok().map(|value| value.expose().to_owned());
        }
        held
    }

    async fn step(&self, step: Step) {
        let [old, new] = &self.stores;
        let (k, anew) = (name_of("k"), value("second"));
        match step {
            Step::DeleteOld => drop(old.delete(&k).await),
            Step::DeleteNew => drop(new.delete(&k).await),
            // A name that the new store has is taken for a server.
            Step::CreateOld if new.read(&k).await.is_ok() => {}
            Step::CreateOld => drop(old.create(&k, &anew).await),
            Step::CreateNew if old.read(&k).await.is_err() => {}
            Step::CreateNew => drop(new.create(&k, &anew).await),
        }
    }
}

impl Side {
    async fn store(&self) -> &MemoryStore {
        let number = self.world.calls.fetch_add(1, Ordering::Relaxed) + 1;
        for (at, step) in &self.world.steps {
            if *at == number {
                self.world.step(*step).await;
            }
        }
        &self.world.stores[self.at]
    }
}

impl KeyStore for Side {
    async fn create(&self, name: &KeyName, value: &Value) -> Result<(), Error> {
        self.store().await.create(name, value).await
    }

    async fn read(&self, name: &KeyName) -> Result<Value, Error> {
        self.store().await.read(name).await
    }

    async fn delete(&self, name: &KeyName) -> Result<(), Error> {
        self.store().await.delete(name).await
    }

    async fn list(&self, pattern: &ListPattern<'_>, limit: Limit) -> Result<Page, Error> {
        self.store().await.list(pattern, limit).await
    }

    fn state(&self) -> State {
        State::Reachable { latency: Duration::ZERO }
    }

    fn kind(&self) -> Kind {
        Kind::new(&"side")
    }
}

impl Inventory for Side {
    async fn foreign(&self, names: ForeignNames) -> Result<ForeignNames, Error> {
        Ok(names)
    }

    async fn name_rules(&self) -> Result<NameRules, Error> {
        Ok(NameRules::ANY)
    }
}

fn online(rate: u32) -> Options {
    Options { rate: Some(rate), ..options(Existing::Refuse) }
}

/// As many calls as a run with one key makes, and some more.
const MOST_CALLS: usize = 16;

#[tokio::test(start_paused = true)]
async fn a_key_that_is_deleted_while_it_is_copied_does_not_come_back() {
    for first in 1..MOST_CALLS {
        for second in first..MOST_CALLS {
            let steps = vec![(first, Step::DeleteOld), (second, Step::DeleteNew)];
            let (world, [source, target]) = World::with(steps).await;
            let ran = run(&source, &target, &online(1000)).await;
            let calls = world.calls.load(Ordering::Relaxed);
            // What the server has still to do when the run has ended.
            for (at, step) in &world.steps {
                if *at > calls {
                    world.step(*step).await;
                }
            }
            assert_eq!(world.held().await, [None, None], "{first} {second} {:?}", ran.told);
            assert_eq!(ran.tally.failed(), 0, "{first} {second} {:?}", ran.told);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_created_anew_while_it_is_copied_has_its_new_value_in_both_or_no_wrong_one() {
    for first in 1..MOST_CALLS {
        for gap in 0..4 {
            for pause in 0..4 {
                let created = first + gap + pause;
                let steps = vec![
                    (first, Step::DeleteOld),
                    (first + gap, Step::DeleteNew),
                    (created, Step::CreateOld),
                    (created + 1, Step::CreateNew),
                ];
                let (world, [source, target]) = World::with(steps).await;
                let ran = run(&source, &target, &online(1000)).await;
                let calls = world.calls.load(Ordering::Relaxed);
                for (at, step) in &world.steps {
                    if *at > calls {
                        world.step(*step).await;
                    }
                }
                let told = format!("{first} {gap} {pause} {:?}", ran.told);
                let held = world.held().await;
                match &held {
                    [Some(old), Some(new)] => {
                        assert_eq!((old, new), (&stored("second"), &stored("second")), "{told}");
                    }
                    // The name was taken for the server, which has created nothing.
                    [None, None] => {}
                    // Another run copies it.
                    [Some(old), None] => assert_eq!(old, &stored("second"), "{told}"),
                    [None, Some(_)] => panic!("{told}: the target alone has it"),
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn keys_are_copied_no_faster_than_it_is_told() {
    let keys: Vec<_> = (0..100).map(|at| (format!("key-{at:03}"), "v")).collect();
    let keys: Vec<_> = keys.iter().map(|(name, text)| (name.as_str(), *text)).collect();
    for (rate, least, most) in [(10, 9, 11), (50, 1, 3), (1, 98, 101)] {
        let (source, target) = (Faulty::with(&keys).await, Faulty::with(&[]).await);
        let start = Instant::now();
        let ran = run(&source, &target, &online(rate)).await;
        assert_eq!(ran.tally.migrated(), 100, "{:?}", ran.report);
        let took = start.elapsed().as_secs();
        assert!((least..=most).contains(&took), "{rate}: {took} s");
        // What is there already is found again.
        let again = run(&source, &target, &online(1000)).await;
        assert_eq!((again.tally.migrated(), again.tally.already_there()), (0, 100));
        assert!(again.report.disagreement.is_none() && again.report.warning().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_target_alone_has_is_told() {
    let source = Faulty::with(&[("a", "v")]).await;
    let target = Faulty::with(&[("b", "v"), ("c", "v")]).await;
    let ran = run(&source, &target, &online(1000)).await;
    assert_eq!(ran.tally.migrated(), 1);
    let warning = ran.report.warning().unwrap();
    assert!(warning.starts_with("2 keys (b, c) are in the target alone: "), "{warning}");
    assert_eq!(target.all().await.len(), 3);
    // It is told beside a server alone: a target may have other keys.
    assert!(run(&source, &target, &options(Existing::Refuse)).await.report.warning().is_none());
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_create_is_not_taken_for_none() {
    let source = Faulty::with(&[("a", "v")]).await;
    let target = Faulty::with(&[]).await.meets(&[(Call::Create, Fault::Unanswered)]);
    let ran = run(&source, &target, &online(1000)).await;
    assert_eq!(ran.tally.migrated(), 1, "{:?}", ran.told);
}
