/// Beside a server.
mod online;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kes_api::{KeyName, ListPattern};
use kes_keystore::{
    Error, ForeignNames, Inventory, KeyStore, Kind, Limit, NameRules, Page, State, Value,
};
use tokio::time::{self, Instant};

use crate::testing::{Call, Fault, Faulty, Ran, name_of, options, run, run_until, stored, value};
use crate::{End, Existing, Outcome, Pattern, Trouble};

/// What became of each key, without the reasons.
fn outcomes(ran: &Ran) -> Vec<(&str, &str)> {
    let word = |outcome: &Outcome| match outcome {
        Outcome::Migrated => "migrated",
        Outcome::Replaced => "replaced",
        Outcome::AlreadyThere => "there",
        Outcome::Skipped(_) => "skipped",
        Outcome::Kept(_) => "kept",
        Outcome::Failed(_) => "failed",
    };
    ran.told.iter().map(|(name, outcome)| (name.as_str(), word(outcome))).collect()
}

fn all(keys: &[(&str, &str)]) -> Vec<(String, String)> {
    keys.iter().map(|(name, text)| ((*name).to_owned(), stored(text))).collect()
}

fn is_complete(ran: &Ran) -> bool {
    matches!(ran.report.end, End::Complete) && ran.report.disagreement.is_none()
}

#[tokio::test]
async fn each_key_meets_what_the_target_has_as_it_was_asked_for() {
    for (existing, outcome, stays) in [
        (Existing::Refuse, "failed", "old"),
        (Existing::Keep, "kept", "old"),
        (Existing::Replace, "replaced", "2"),
    ] {
        let source = Faulty::with(&[("a", "1"), ("b", "2"), ("c", "3"), ("d", "bad")]).await;
        let target = Faulty::with(&[("b", "old"), ("c", "3"), ("x", "y")]).await;
        let mut options = options(existing);
        options.dry_run = true;
        let expected = [("a", "migrated"), ("b", outcome), ("c", "there"), ("d", "skipped")];
        let before = target.all().await;
        assert_eq!(outcomes(&run(&source, &target, &options).await), expected);
        assert_eq!((target.all().await, target.changes.load(Ordering::Relaxed)), (before, 0));

        options.dry_run = false;
        let ran = run(&source, &target, &options).await;
        assert_eq!(outcomes(&ran), expected);
        assert!(is_complete(&ran), "{:?}", ran.report);
        assert_eq!(ran.tally.total(), 4);
        assert_eq!(target.all().await, all(&[("a", "1"), ("b", stays), ("c", "3"), ("x", "y")]));
        assert_eq!(source.changes.load(Ordering::Relaxed), 0);
    }
}

#[tokio::test]
async fn entries_that_are_no_keys_are_told_or_fail() {
    for strict in [false, true] {
        let mut source = Faulty::with(&[("a", "1"), ("ab", "bad")]).await;
        source.foreign = vec!["a.b", "b.c"];
        let target = Faulty::with(&[]).await;
        let mut options = options(Existing::Refuse);
        options.strict = strict;
        options.pattern = Pattern::parse("a*").unwrap();
        let ran = run(&source, &target, &options).await;
        let word = if strict { "failed" } else { "skipped" };
        assert_eq!(outcomes(&ran), [("a.b", word), ("a", "migrated"), ("ab", word)]);
        assert!(is_complete(&ran));
    }
}

#[tokio::test]
async fn names_that_the_target_cannot_hold_are_found_before_the_first_write() {
    for (rules, bad) in [
        (NameRules { ignores_case: true, ..NameRules::ANY }, "key-a"),
        (NameRules { forbidden: "_", ..NameRules::ANY }, "a_b"),
    ] {
        let source = Faulty::with(&[("Key-A", "1"), ("a_b", "2"), ("key-a", "3")]).await;
        let mut target = Faulty::with(&[]).await;
        target.rules = rules;
        let ran = run(&source, &target, &options(Existing::Refuse)).await;
        assert_eq!(outcomes(&ran), [(bad, "failed")]);
        assert!(matches!(ran.report.end, End::Broken(Trouble::Names(1))));
        assert_eq!(target.changes.load(Ordering::Relaxed), 0);
    }
}

/// A new key: what the target does, and what becomes of the key.
#[tokio::test(start_paused = true)]
async fn a_create_is_believed_when_it_is_read_back() {
    use Call::{Create, Read};
    for (faults, outcome, has) in [
        (&[(Create, Fault::Refused)][..], "failed", None),
        (&[(Create, Fault::Unanswered)], "migrated", Some("1")),
        (&[(Create, Fault::Bent)], "failed", Some("bent")),
        // A server that died blocks the name for a while, or for ever.
        (&[(Create, Fault::Locked); 100], "migrated", Some("1")),
        (&[(Create, Fault::Locked); 10_000], "failed", None),
        // The first read looks whether the target can be used.
        (&[(Read, Fault::Bent), (Read, Fault::Refused)], "failed", Some("1")),
    ] {
        let source = Faulty::with(&[("a", "1")]).await;
        let target = Faulty::with(&[]).await.meets(faults);
        let ran = run(&source, &target, &options(Existing::Refuse)).await;
        assert_eq!(outcomes(&ran), [("a", outcome)], "{faults:?}");
        assert_eq!(
            target.all().await,
            all(&has.map(|has| ("a", has)).into_iter().collect::<Vec<_>>())
        );
    }
}

/// A store that is there has not completed a create in time, because another server blocks the name.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_late_at_a_store_that_is_there_is_repeated() {
    let source = Faulty::with(&[("a", "1")]).await;
    for (fault, outcome) in [(Fault::Away, "migrated"), (Fault::Unanswered, "there")] {
        let mut target = Faulty::with(&[]).await.meets(&[(Call::Create, fault)]);
        target.state = State::Reachable { latency: Duration::ZERO };
        let ran = run(&source, &target, &options(Existing::Refuse)).await;
        assert_eq!(outcomes(&ran), [("a", outcome)]);
        assert!(is_complete(&ran), "{:?}", ran.report);
    }
}

/// Whatever fails when a key is replaced, the target has the old value or the new one.
#[tokio::test(start_paused = true)]
async fn a_replaced_key_is_never_lost() {
    use Call::{Create, Delete, Read};
    let read = (Read, Fault::Bent);
    let exists = (Create, Fault::Bent);
    // A key for trial is created and deleted first.
    let [created, deleted] = [(Create, Fault::Bent), (Delete, Fault::Bent)];
    for (faults, outcome, has) in [
        (&[][..], "replaced", "new"),
        (&[deleted, (Delete, Fault::Refused)], "failed", "old"),
        (&[deleted, (Delete, Fault::Away)], "failed", "old"),
        (&[deleted, (Delete, Fault::Unanswered)], "replaced", "new"),
        // Nobody knows at once whether it was deleted: it is put back, or found to be there.
        (&[deleted, (Delete, Fault::Unanswered), read, read, (Read, Fault::Away)], "failed", "old"),
        (&[deleted, (Delete, Fault::Away), read, read, (Read, Fault::Away)], "failed", "old"),
        (&[exists, created, (Create, Fault::Refused)], "failed", "old"),
        (&[exists, created, (Create, Fault::Away)], "failed", "old"),
        (&[exists, created, (Create, Fault::Unanswered)], "replaced", "new"),
        // Putting it back fails some times as well.
        (
            &[
                exists,
                created,
                (Create, Fault::Refused),
                (Create, Fault::Away),
                (Create, Fault::Refused),
            ],
            "failed",
            "old",
        ),
        (
            &[exists, created, (Create, Fault::Refused), (Create, Fault::Unanswered)],
            "failed",
            "old",
        ),
        // The first reads are whether the target can be used, and the old value.
        (&[(Read, Fault::Bent), (Read, Fault::Refused)], "failed", "old"),
    ] {
        let source = Faulty::with(&[("a", "new")]).await;
        let target = Faulty::with(&[("a", "old")]).await.meets(faults);
        let ran = run(&source, &target, &options(Existing::Replace)).await;
        assert_eq!(outcomes(&ran), [("a", outcome)], "{faults:?} {:?}", ran.told);
        assert_eq!(target.all().await, all(&[("a", has)]), "{faults:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_cannot_be_put_back_is_named_as_gone() {
    let faults: Vec<_> = [(Call::Create, Fault::Bent); 2]
        .into_iter()
        .chain([(Call::Create, Fault::Refused); 300])
        .collect();
    let source = Faulty::with(&[("a", "new")]).await;
    let target = Faulty::with(&[("a", "old")]).await.meets(&faults);
    let start = Instant::now();
    let ran = run(&source, &target, &options(Existing::Replace)).await;
    assert!((90..130).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    let [(name, Outcome::Failed(reason))] = ran.told.as_slice() else { panic!("{:?}", ran.told) };
    assert_eq!(name, "a");
    assert!(reason.starts_with("is probably no longer in the target: "), "{reason}");
    assert!(reason.contains("the source has the new one"), "{reason}");
    // Another run brings it.
    let again = Faulty::with(&[]).await;
    assert_eq!(
        outcomes(&run(&source, &again, &options(Existing::Replace)).await),
        [("a", "migrated")]
    );
}

/// A missing right and a full disk show before anything is deleted, and a fault that comes later
/// concerns one key.
#[tokio::test(start_paused = true)]
async fn a_target_that_takes_no_new_keys_loses_none() {
    let names: Vec<String> = (0..100).map(|at| format!("key-{at:03}")).collect();
    let new: Vec<_> = names.iter().map(|name| (name.as_str(), "new")).collect();
    let old: Vec<_> = names.iter().map(|name| (name.as_str(), "old")).collect();
    let source = Faulty::with(&new).await;
    // The first key is asked to be created, then one for trial; from then on nothing is created.
    for (taken, deletes) in [(1, 0), (2, 1)] {
        let faults: Vec<_> = [(Call::Create, Fault::Bent)]
            .repeat(taken)
            .into_iter()
            .chain([(Call::Create, Fault::Refused); 1000])
            .collect();
        let target = Faulty::with(&old).await.meets(&faults);
        let ran = run(&source, &target, &options(Existing::Replace)).await;
        assert!(matches!(ran.report.end, End::Broken(_)), "{:?}", ran.report);
        let gone = 100 - target.all().await.len();
        assert_eq!(gone, deletes, "{:?}", ran.told);
        assert_eq!(ran.tally.replaced(), 0);
    }
    // A target that deletes nothing keeps all as well.
    let target = Faulty::with(&old).await.meets(&[(Call::Delete, Fault::Refused)]);
    let ran = run(&source, &target, &options(Existing::Replace)).await;
    assert!(matches!(ran.report.end, End::Broken(_)), "{:?}", ran.report);
    assert_eq!((ran.tally.replaced(), target.all().await.len()), (0, 101));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_reached_ends_the_run() {
    let keys: Vec<(String, &str)> = (0..200).map(|at| (format!("key-{at:03}"), "1")).collect();
    let keys: Vec<_> = keys.iter().map(|(name, text)| (name.as_str(), *text)).collect();
    for (of_target, faults, most, side) in [
        (false, [(Call::List, Fault::Away); 1], 0, "cannot list the keys of the source: "),
        (false, [(Call::Read, Fault::Away)], 33, "cannot use the source: "),
        (true, [(Call::Read, Fault::Away)], 0, "cannot use the target: "),
        (true, [(Call::Create, Fault::Away)], 33, "cannot use the target: "),
    ] {
        let (mut source, mut target) = (Faulty::with(&keys).await, Faulty::with(&[]).await);
        if of_target {
            target = target.meets(&faults);
        } else {
            source = source.meets(&faults);
        }
        let ran = run(&source, &target, &options(Existing::Refuse)).await;
        let End::Broken(trouble) = &ran.report.end else { panic!("{faults:?}: {:?}", ran.report) };
        assert!(trouble.to_string().starts_with(side), "{trouble}");
        assert!(ran.tally.done() <= most, "{faults:?}: {}", ran.tally.done());
        // What was at work then is completed.
        assert_eq!(ran.tally.migrated(), target.all().await.len());
        assert_eq!(ran.tally.failed(), usize::from(most > 0));
    }
    // An error of one key does not.
    let (source, target) = (
        Faulty::with(&keys).await.meets(&[(Call::Read, Fault::Refused)]),
        Faulty::with(&[]).await.meets(&[(Call::Create, Fault::Refused)]),
    );
    let ran = run(&source, &target, &options(Existing::Refuse)).await;
    assert!(is_complete(&ran));
    assert_eq!((ran.tally.migrated(), ran.tally.failed()), (198, 2));
    assert!(ran.told.iter().any(|(_, outcome)| *outcome
        == Outcome::Failed("cannot be read from the source: key store: refused".to_owned())));
}

#[tokio::test]
async fn a_run_that_is_told_to_stop_completes_the_keys_at_work() {
    let names: Vec<String> = (0..200).map(|at| format!("key-{at:03}")).collect();
    let keys: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
    let source = Faulty::with(&keys).await;
    let target = Faulty::with(&[]).await;
    let ran = run_until(&source, &target, &options(Existing::Refuse), 50).await;
    assert!(matches!(ran.report.end, End::Stopped));
    let migrated = ran.tally.migrated();
    assert!((50..100).contains(&migrated), "{migrated}");
    assert_eq!(target.all().await.len(), migrated);
    // Another run completes it.
    let ran = run(&source, &target, &options(Existing::Refuse)).await;
    assert_eq!((ran.tally.already_there(), ran.tally.migrated()), (migrated, 200 - migrated));
    assert_eq!(target.all().await, source.all().await);
}

#[tokio::test]
async fn what_the_listings_do_not_agree_with_is_told() {
    /// A source that has a key more at its last listing.
    struct Growing(Faulty, AtomicUsize);

    impl KeyStore for Growing {
        async fn create(&self, name: &KeyName, value: &Value) -> Result<(), Error> {
            self.0.create(name, value).await
        }

        async fn read(&self, name: &KeyName) -> Result<Value, Error> {
            self.0.read(name).await
        }

        async fn delete(&self, name: &KeyName) -> Result<(), Error> {
            self.0.delete(name).await
        }

        async fn list(&self, pattern: &ListPattern<'_>, limit: Limit) -> Result<Page, Error> {
            if self.1.fetch_add(1, Ordering::Relaxed) == 2 {
                self.0.create(&name_of("z"), &value("1")).await?;
            }
            self.0.list(pattern, limit).await
        }

        fn state(&self) -> State {
            self.0.state()
        }

        fn kind(&self) -> Kind {
            self.0.kind()
        }
    }

    impl Inventory for Growing {
        async fn foreign(&self, names: ForeignNames) -> Result<ForeignNames, Error> {
            self.0.foreign(names).await
        }

        async fn name_rules(&self) -> Result<NameRules, Error> {
            self.0.name_rules().await
        }
    }

    let source = Growing(Faulty::with(&[("a", "1")]).await, AtomicUsize::new(0));
    let target = Faulty::with(&[]).await;
    let ran = run(&source, &target, &options(Existing::Refuse)).await;
    let text = ran.report.disagreement.unwrap();
    assert_eq!(text, "1 keys were found in the source, which has 1 more by now; run it again");
    // A target that must not be listed is not compared.
    let source = Faulty::with(&[("a", "1")]).await;
    let target = Faulty::with(&[]).await.meets(&[(Call::List, Fault::Refused)]);
    assert!(is_complete(&run(&source, &target, &options(Existing::Refuse)).await));
}

/// A source with a million keys, none of which is in memory, and a target that has them all.
struct Endless {
    names: usize,
    open: AtomicUsize,
    most: AtomicUsize,
    pages: AtomicUsize,
}

impl KeyStore for Endless {
    async fn create(&self, name: &KeyName, _: &Value) -> Result<(), Error> {
        Err(Error::Exists { name: *name })
    }

    async fn read(&self, name: &KeyName) -> Result<Value, Error> {
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(open, Ordering::Relaxed);
        tokio::task::yield_now().await;
        self.open.fetch_sub(1, Ordering::Relaxed);
        if name.as_str().starts_with("key-") {
            Ok(value("1"))
        } else {
            Err(Error::NotFound { name: *name })
        }
    }

    async fn delete(&self, _: &KeyName) -> Result<(), Error> {
        panic!("nothing is deleted")
    }

    async fn list(&self, pattern: &ListPattern<'_>, limit: Limit) -> Result<Page, Error> {
        self.pages.fetch_add(1, Ordering::Relaxed);
        let from = pattern.from().strip_prefix("key-").map_or(0, |at| at.parse().unwrap());
        let names = (from..self.names).map(|at| name_of(&format!("key-{at:012}")));
        let page = Page::first(names, limit);
        let bytes: usize = page.names.iter().map(str::len).sum();
        assert!(bytes <= 1024 * 1024, "{bytes}");
        Ok(page)
    }

    fn state(&self) -> State {
        State::Unavailable
    }

    fn kind(&self) -> Kind {
        Kind::new(&"endless")
    }
}

impl Inventory for Endless {
    async fn foreign(&self, names: ForeignNames) -> Result<ForeignNames, Error> {
        Ok(names)
    }

    async fn name_rules(&self) -> Result<NameRules, Error> {
        Ok(NameRules::ANY)
    }
}

#[tokio::test]
async fn a_million_keys_are_a_page_and_some_keys_at_a_time() {
    let store = Endless {
        names: 1_000_000,
        open: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
        pages: AtomicUsize::new(0),
    };
    let mut options = options(Existing::Refuse);
    // Parsing each value would take a while in a test.
    options.pattern = Pattern::parse("*9").unwrap();
    let tally = crate::Tally::default();
    let migration =
        crate::Migration { source: &store, target: &store, options: &options, tally: &tally };
    let report = migration.run(&|| false, &mut |_, _| {}).await;
    assert!(matches!(report.end, End::Complete), "{report:?}");
    assert_eq!(tally.already_there(), 100_000);
    assert!(store.most.load(Ordering::Relaxed) <= 32);
    let pages = store.pages.load(Ordering::Relaxed);
    assert!((60..=120).contains(&pages), "{pages}");
}

/// A deletion without an answer that is carried out late does not delete what was created after it.
#[tokio::test(start_paused = true)]
async fn a_late_deletion_deletes_nothing_new() {
    use std::sync::Arc;

    use kes_keystore::wrap::Unsettled;

    /// Carries the deletion of `a` out half a minute after it was given up.
    struct Late(Arc<Faulty>);

    impl KeyStore for Late {
        async fn create(&self, name: &KeyName, value: &Value) -> Result<(), Error> {
            self.0.create(name, value).await
        }

        async fn read(&self, name: &KeyName) -> Result<Value, Error> {
            self.0.read(name).await
        }

        async fn delete(&self, name: &KeyName) -> Result<(), Error> {
            if name.as_str() != "a" {
                return self.0.delete(name).await;
            }
            let (change, store, name) = (Unsettled::current(), Arc::clone(&self.0), *name);
            tokio::spawn(async move {
                time::sleep(Duration::from_secs(30)).await;
                store.delete(&name).await.unwrap();
                drop(change);
            });
            Err(Error::Unavailable { reason: "no answer".to_owned() })
        }

        async fn list(&self, pattern: &ListPattern<'_>, limit: Limit) -> Result<Page, Error> {
            self.0.list(pattern, limit).await
        }

        fn state(&self) -> State {
            self.0.state()
        }

        fn kind(&self) -> Kind {
            self.0.kind()
        }
    }

    impl Inventory for Late {
        async fn foreign(&self, names: ForeignNames) -> Result<ForeignNames, Error> {
            self.0.foreign(names).await
        }

        async fn name_rules(&self) -> Result<NameRules, Error> {
            self.0.name_rules().await
        }
    }

    let source = Faulty::with(&[("a", "new")]).await;
    let target = Late(Arc::new(Faulty::with(&[("a", "old")]).await));
    let ran = run(&source, &target, &options(Existing::Replace)).await;
    assert_eq!(outcomes(&ran), [("a", "replaced")]);
    time::sleep(Duration::from_secs(100)).await;
    assert_eq!(target.0.all().await, all(&[("a", "new")]));
}
