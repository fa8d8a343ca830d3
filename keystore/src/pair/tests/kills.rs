use std::collections::BTreeSet;

use super::faulty::When;
use super::*;

/// What the stores have before a change.
const BEFORE: [[Option<&str>; 2]; 4] =
    [[None, None], [Some("v"), None], [None, Some("v")], [Some("v"), Some("v")]];

/// As many calls as a change makes, and some more.
const MOST_CALLS: usize = 12;

/// Kills the process at each of its calls, and has `check` look at what the next one finds.
async fn killed<F: Future<Output = ()>>(
    change: impl AsyncFn(&Pair<faulty::Calls, faulty::Calls>) -> Result<(), Error>,
    check: impl Fn(World, Stage, [Option<&'static str>; 2], String) -> F,
) {
    let mut kills = 0;
    for stage in STAGES {
        for before in BEFORE {
            for at in 1..MOST_CALLS {
                for when in [When::Before, When::After] {
                    let world = World::new();
                    world.put("k", before).await;
                    let process = world.pair(stage);
                    world.kill_at(at, when);
                    let outcome = change(&process).await;
                    if world.calls() < at {
                        continue;
                    }
                    kills += 1;
                    // Nothing of the process goes on: its calls do not return.
                    drop(process);
                    world.heal();
                    let told = format!("{stage}, {before:?}, killed {when:?} {at}: {outcome:?}");
                    check(world, stage, before, told).await;
                }
            }
        }
    }
    assert!(kills > 40, "{kills} kills");
}

/// Copies what the old store alone has, as `kes migrate --online` does.
async fn copied(world: &World) -> [Option<String>; 2] {
    let held = world.held("k").await;
    if let [Some(old), None] = &held {
        world.put("k", [Some(old), Some(old)]).await;
    }
    world.held("k").await
}

#[tokio::test(start_paused = true)]
async fn a_create_that_is_killed_leaves_a_key_that_can_be_used_or_none() {
    let create = async |pair: &Pair<_, _>| pair.create(&name("k"), &value("first")).await;
    killed(create, |world, stage, before, told| async move {
        let held = world.held("k").await;
        // What was there is there, and what was made is one key.
        for (held, before) in held.iter().zip(before) {
            assert!(before.is_none() || held.as_deref() == before, "{told}: {held:?}");
        }
        let values: BTreeSet<_> = held.iter().flatten().collect();
        assert!(values.len() <= 1, "{told}: {held:?}");
        if stage.write == Writes::Both && before == [None, None] {
            assert!(held[0].is_some() || held[1].is_none(), "{told}: the new store alone has it");
        }

        let next = world.pair(stage);
        let read = next.read(&name("k")).await.ok().map(|value| value.expose().to_owned());
        assert_eq!(read.as_ref(), values.first().copied(), "{told}");
        match next.create(&name("k"), &value("second")).await {
            Ok(()) => {
                assert!(values.is_empty(), "{told}");
                let both = stage.write == Writes::Both;
                let held = world.held("k").await;
                let stands = held.iter().flatten().count();
                assert_eq!(stands, if both { 2 } else { 1 }, "{told}: {held:?}");
            }
            Err(Error::Exists { .. }) => {
                // Whoever is told so can use it, now and after it was copied.
                let read = next.read(&name("k")).await.ok().unwrap();
                let held = copied(&world).await;
                assert!(
                    held.iter().flatten().all(|held| held == read.expose()),
                    "{told}: {held:?}"
                );
                assert_eq!(next.read(&name("k")).await.ok().unwrap().expose(), read.expose());
            }
            Err(error) => panic!("{told}: {error}"),
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_is_killed_is_completed_by_the_next_one() {
    let delete = async |pair: &Pair<_, _>| pair.delete(&name("k")).await;
    killed(delete, |world, stage, before, told| async move {
        let held = world.held("k").await;
        for (held, before) in held.iter().zip(before) {
            assert!(held.is_none() || held.as_deref() == before, "{told}: {held:?}");
        }
        let next = world.pair(stage);
        match next.delete(&name("k")).await {
            Ok(()) | Err(Error::NotFound { .. }) => {}
            Err(error) => panic!("{told}: {error}"),
        }
        assert_eq!(world.held("k").await, [None, None], "{told}");
        next.create(&name("k"), &value("anew")).await.unwrap();
        assert_eq!(next.read(&name("k")).await.ok().unwrap().expose(), "anew", "{told}");
    })
    .await;
}
