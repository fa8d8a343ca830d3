/// Stores whose calls meet kills and outages.
mod faulty;

/// A process that is killed between two calls.
mod kills;

/// A store that is away for some time.
mod outages;

use kes_api::KeyName;

use self::faulty::{World, text_of};
use super::*;
use crate::battery::{self, MissingDelete};
use crate::memory::MemoryStore;

const STAGES: [Stage; 5] = [
    Stage { read: Side::Old, write: Writes::Old, compare: false },
    Stage { read: Side::Old, write: Writes::Both, compare: false },
    Stage { read: Side::Old, write: Writes::Both, compare: true },
    Stage { read: Side::New, write: Writes::Both, compare: false },
    Stage { read: Side::New, write: Writes::New, compare: false },
];

fn name(text: &str) -> KeyName {
    KeyName::parse(text).unwrap()
}

fn value(text: &str) -> Value {
    Value::new(text.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn does_what_every_store_does_in_every_stage() {
    for stage in STAGES {
        battery::run(MissingDelete::Fails, async || {
            let (old, new) = (MemoryStore::new(), MemoryStore::new());
            Pair::new(old, new, String::new(), stage, Arc::default())
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_is_created_where_the_stage_says_and_deleted_everywhere() {
    for stage in STAGES {
        let world = World::new();
        let pair = world.pair(stage);
        pair.create(&name("k"), &value("v")).await.unwrap();
        let (in_old, in_new) = match stage.write {
            Writes::Old => (true, false),
            Writes::Both => (true, true),
            Writes::New => (false, true),
        };
        let held = [in_old, in_new].map(|is_in| is_in.then(|| "v".to_owned()));
        assert_eq!(world.held("k").await, held, "{stage}");
        assert_eq!(pair.read(&name("k")).await.ok().unwrap().expose(), "v");
        // Whichever store has a name, it is taken, and both lose it.
        for holder in [[true, false], [false, true], [true, true]] {
            let world = World::new();
            world.put("k", holder.map(|holds| holds.then_some("v"))).await;
            let pair = world.pair(stage);
            let taken = pair.create(&name("k"), &value("w")).await;
            assert!(matches!(taken, Err(Error::Exists { .. })), "{stage} {holder:?} {taken:?}");
            assert_eq!(pair.read(&name("k")).await.ok().unwrap().expose(), "v", "{stage}");
            pair.delete(&name("k")).await.unwrap();
            assert_eq!(world.held("k").await, [None, None], "{stage} {holder:?}");
            let gone = pair.read(&name("k")).await.err();
            assert!(matches!(gone, Some(Error::NotFound { .. })), "{gone:?}");
        }
    }
}

/// What a read answers: a value, that there is none, or an error.
async fn answer(pair: &impl KeyStore) -> String {
    match pair.read(&name("k")).await {
        Ok(value) => value.expose().to_owned(),
        Err(Error::NotFound { .. }) => "none".to_owned(),
        Err(Error::Unreachable { .. } | Error::Unavailable { .. }) => "away".to_owned(),
        Err(Error::Unusable { .. }) => "differs".to_owned(),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(start_paused = true)]
async fn no_read_takes_a_store_that_is_away_for_one_without_the_key() {
    const HELD: [(Option<&str>, Option<&str>); 4] =
        [(None, None), (Some("v"), None), (None, Some("v")), (Some("v"), Some("v"))];
    for stage in STAGES {
        for (old, new) in HELD {
            for away in [None, Some(Side::Old), Some(Side::New)] {
                for hangs in [false, true] {
                    let world = World::new();
                    world.put("k", [old, new]).await;
                    if let Some(side) = away {
                        world.away(side, hangs);
                    }
                    let is_away = |side| away == Some(side);
                    let seen_old = old.filter(|_| !is_away(Side::Old));
                    let seen_new = new.filter(|_| !is_away(Side::New));
                    let expected = match (seen_old.or(seen_new), away) {
                        // What one of them has cannot be compared.
                        (_, Some(_)) if stage.compare => "away",
                        (Some(value), _) => value,
                        (None, Some(_)) => "away",
                        (None, None) => "none",
                    };
                    let answered = answer(&world.pair(stage)).await;
                    assert_eq!(answered, expected, "{stage} {old:?} {new:?} {away:?} {hangs}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn different_values_are_no_answer_where_they_are_compared() {
    let world = World::new();
    world.put("k", [Some("v"), Some("other")]).await;
    world.put("same", [Some("w"), Some("w")]).await;
    for (stage, expected) in STAGES.into_iter().zip(["v", "v", "differs", "other", "other"]) {
        let pair = world.pair(stage);
        assert_eq!(answer(&pair).await, expected, "{stage}");
        assert_eq!(pair.read(&name("same")).await.ok().unwrap().expose(), "w");
        let report = pair.pair().unwrap();
        let differing = if stage.compare { vec![name("k")] } else { Vec::new() };
        assert_eq!((report.differing, report.differences), (differing, u64::from(stage.compare)));
    }
    let error = world.pair(STAGES[2]).read(&name("k")).await.err().unwrap().to_string();
    assert!(error.contains("key 'k' has different values"), "{error}");
    assert!(!error.contains("other'"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_does_not_hold_up_what_the_other_one_has() {
    let world = World::new();
    world.put("k", [None, Some("v")]).await;
    world.away(Side::Old, true);
    let pair = world.pair(STAGES[1]);
    let start = time::Instant::now();
    assert_eq!(answer(&pair).await, "v");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(pair.pair().unwrap().from_second, 1);
    // It is asked all the same, and its answer is waited for where the other one has none.
    world.put("k", [None, None]).await;
    world.back(Side::Old);
    world.slow(Side::Old, Duration::from_secs(3));
    let late = World::new();
    late.put("k", [Some("v"), None]).await;
    late.slow(Side::Old, Duration::from_secs(3));
    assert_eq!(answer(&late.pair(STAGES[1])).await, "v");
}

#[tokio::test(start_paused = true)]
async fn a_listing_has_the_names_of_both_stores_once_and_fails_with_either() {
    let world = World::new();
    let all: Vec<_> = (0..300).map(|at| format!("key-{at:03}")).collect();
    for (at, text) in all.iter().enumerate() {
        let held = [at % 3 != 1, at % 3 != 0].map(|is_in| is_in.then_some("v"));
        world.put(text, held).await;
    }
    let pair = world.pair(STAGES[1]);
    for limit in
        [Limit::names(7), Limit::names(128), Limit::bytes(500, 300), Limit::bytes(9000, 40)]
    {
        let (mut found, mut pattern) = (Vec::new(), "key-*".to_owned());
        loop {
            let page = pair.list(&ListPattern::parse(&pattern).unwrap(), limit).await.unwrap();
            let bytes: usize = page.names.iter().map(|name| name.len() + 3).sum();
            assert!(bytes <= 9000, "{bytes}");
            found.extend(page.names.iter().map(str::to_owned));
            let Some(next) = page.next else { break };
            assert!(!page.names.is_empty());
            pattern = format!("key-*{next}");
        }
        assert!(found == all, "{limit:?}: {} names", found.len());
    }
    for side in [Side::Old, Side::New] {
        world.away(side, false);
        assert!(pair.list(&ListPattern::ALL, Limit::names(1)).await.is_err());
        world.back(side);
    }
}

#[tokio::test(start_paused = true)]
async fn keys_are_counted_where_they_stand() {
    let world = World::new();
    for (text, held) in [
        ("a", [Some("v"), Some("v")]),
        ("b", [Some("v"), None]),
        ("c", [None, Some("v")]),
        ("d", [Some("v"), Some("v")]),
        ("e", [Some("v"), None]),
    ] {
        world.put(text, held).await;
    }
    let pair = world.pair(STAGES[1]).counted();
    assert!(pair.pair().unwrap().count.is_none());
    time::sleep(Duration::from_secs(1)).await;
    let count = pair.pair().unwrap().count.unwrap();
    assert_eq!((count.only_old, count.only_new, count.both), (2, 1, 2));
    assert_eq!((count.named_old, count.named_new), (vec![name("b"), name("e")], vec![name("c")]));
    world.away(Side::New, false);
    time::sleep(Duration::from_secs(60)).await;
    let report = pair.pair().unwrap();
    assert!(report.count.is_some() && report.uncounted.unwrap().contains("new store: "));
    world.back(Side::New);
    time::sleep(Duration::from_secs(60)).await;
    assert_eq!(pair.pair().unwrap().uncounted, None);
}

#[tokio::test(start_paused = true)]
async fn the_state_is_that_of_the_store_that_is_asked_first() {
    for stage in STAGES {
        for side in [Side::Old, Side::New] {
            let world = World::new();
            world.away(side, false);
            let pair = world.pair(stage);
            let is_reachable = matches!(pair.state(), State::Reachable { .. });
            assert_eq!(is_reachable, stage.read != side && !stage.compare, "{stage} {side:?}");
            let trouble = pair.trouble().unwrap();
            assert!(trouble.starts_with(&format!("{} store: ", side.word())), "{trouble}");
        }
    }
    assert_eq!(World::new().pair(STAGES[1]).trouble(), None);
}

/// Two servers create one name at the same moment, and one of them does not write the old store.
#[tokio::test(start_paused = true)]
async fn creates_of_servers_in_different_stages_lose_no_key() {
    for at in 1..6 {
        let world = World::new();
        let (both, new) = (world.pair(STAGES[3]), world.pair(STAGES[4]));
        world.pause_at(at);
        let slow = tokio::spawn(async move { both.create(&name("k"), &value("a")).await });
        time::sleep(Duration::from_millis(10)).await;
        let quick = new.create(&name("k"), &value("b")).await;
        world.go_on();
        let slow = slow.await.unwrap();
        let held = world.held("k").await;
        match (&slow, &quick) {
            (Ok(()), Err(_)) => assert_eq!(held, ["a", "a"].map(text_of), "{at}"),
            (Err(Error::Exists { .. }), Ok(())) => assert_eq!(held, [None, text_of("b")], "{at}"),
            // Both values are kept, and told.
            (Err(Error::Unusable { .. }), Ok(())) => assert_eq!(held, ["a", "b"].map(text_of)),
            outcome => panic!("{at}: {outcome:?} {held:?}"),
        }
    }
}
