use super::faulty::When;
use super::*;
use crate::wrap::{Change, Order};

const MOST_CALLS: usize = 12;

/// Longer than a caller waits.
const AWAY: Duration = Duration::from_secs(60);

/// Until the half of a change is completed after that.
const AFTER: Duration = Duration::from_secs(120);

/// Has each store be away from each call on, also so that the first call is carried out and not
/// answered; `check` gets the answer, and what the stores have when the store is back.
async fn away<F: Future<Output = ()>>(
    before: [Option<&str>; 2],
    change: Change,
    check: impl Fn(
        Result<(), Error>,
        [Option<String>; 2],
        Pair<faulty::Calls, faulty::Calls>,
        String,
    ) -> F,
) {
    let mut outages = 0;
    for stage in STAGES {
        for side in [Side::Old, Side::New] {
            for at in 1..MOST_CALLS {
                for when in [When::Before, When::After] {
                    let world = World::new();
                    world.put("k", before).await;
                    let (pair, order) = (world.pair(stage), Order::default());
                    world.outage_at(at, side, when, AWAY);
                    let turn = order.turn(&name("k"), change).await.unwrap();
                    let start = time::Instant::now();
                    let outcome = turn
                        .run(async {
                            match change {
                                Change::Create => pair.create(&name("k"), &value("v")).await,
                                Change::Delete => pair.delete(&name("k")).await,
                            }
                        })
                        .await;
                    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
                    if world.calls() < at {
                        continue;
                    }
                    outages += 1;
                    let told = format!("{stage}, {side:?} away {when:?} {at}: {outcome:?}");
                    if outcome.is_ok() {
                        let held = world.held("k").await;
                        check(outcome.clone(), held, world.pair(stage), told.clone()).await;
                    }
                    time::sleep(AFTER).await;
                    let report = pair.pair().unwrap();
                    assert_eq!(report.unfinished, 0, "{told}");
                    // The next change of the name begins.
                    assert!(order.try_turn(&name("k"), Change::Delete).is_some(), "{told}");
                    let held = world.held("k").await;
                    check(outcome, held, pair, told).await;
                }
            }
        }
    }
    assert!(outages > 20, "{outages} outages");
}

#[tokio::test(start_paused = true)]
async fn a_create_stands_in_both_stores_or_in_none_once_both_are_back() {
    away([None, None], Change::Create, |outcome, held, pair, told| async move {
        let expected = match pair.stores.stage.write {
            Writes::Old => [true, false],
            Writes::Both => [true, true],
            Writes::New => [false, true],
        };
        let stands = held.clone().map(|value| value.is_some());
        match outcome {
            Ok(()) => assert_eq!(stands, expected, "{told}"),
            Err(_) => assert!(stands == expected || stands == [false, false], "{told}: {held:?}"),
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_delete_is_one_from_both_stores_or_from_none_once_both_are_back() {
    for before in [[Some("v"), Some("v")], [Some("v"), None], [None, Some("v")]] {
        away(before, Change::Delete, |outcome, held, _, told| async move {
            let stands = held.clone().map(|value| value.is_some());
            let before = before.map(|value| value.is_some());
            match outcome {
                Ok(()) => assert_eq!(stands, [false, false], "{told}"),
                Err(_) => {
                    assert!(stands == before || stands == [false, false], "{told}: {held:?}");
                }
            }
        })
        .await;
    }
}

/// A change that has failed for its caller and was completed is told where it is recorded.
#[tokio::test(start_paused = true)]
async fn the_late_end_of_a_change_is_told() {
    let world = World::new();
    let (pair, order) = (world.pair(STAGES[1]), Order::default());
    // The third call is the create in the new store.
    world.outage_at(3, Side::New, When::Before, AWAY);
    let turn = order.turn(&name("k"), Change::Create).await.unwrap();
    let course = turn.course();
    let failed = turn.run(pair.create(&name("k"), &value("v"))).await.unwrap_err();
    assert!(
        failed.to_string().contains("created in the old store and not yet in the new"),
        "{failed}"
    );
    assert_eq!(pair.pair().unwrap().unfinished, 1);
    assert!(order.is_unsure(&name("k")));
    // It can be used, and its name is taken.
    assert_eq!(answer(&pair).await, "v");
    let (told, mut is_told) = tokio::sync::oneshot::channel();
    course.on_late(Box::new(move || told.send(()).unwrap()));
    assert!(is_told.try_recv().is_err());
    time::sleep(AFTER).await;
    is_told.try_recv().unwrap();
    assert_eq!(world.held("k").await, ["v", "v"].map(text_of));
    assert!(!order.is_unsure(&name("k")));
}

/// A pair that a reload has replaced completes what it has begun, and gives up in the end.
#[tokio::test(start_paused = true)]
async fn a_pair_out_of_use_goes_on_for_some_time() {
    for (time, is_completed) in [(AWAY, true), (10 * AFTER, false)] {
        let world = World::new();
        let pair = world.pair(STAGES[1]);
        world.outage_at(3, Side::New, When::Before, time);
        assert!(pair.create(&name("k"), &value("v")).await.is_err());
        drop(pair);
        time::sleep(20 * AFTER).await;
        assert_eq!(world.held("k").await[1].is_some(), is_completed);
    }
}

/// One that was replaced by one of the same stores goes on with the calls of that one, however long it
/// takes: a reload need not have to do with the key stores.
#[tokio::test(start_paused = true)]
async fn a_reload_leaves_nothing_half_done() {
    for change in [Change::Create, Change::Delete] {
        let (world, process) = (World::new(), Arc::default());
        let pair = world.pair_of(STAGES[1], Arc::clone(&process));
        let begun = match change {
            Change::Create => {
                // The third call is the create in the new store.
                world.outage_at(3, Side::New, When::Before, 10 * AFTER);
                pair.create(&name("k"), &value("v")).await
            }
            Change::Delete => {
                world.put("k", [Some("v"), Some("v")]).await;
                // After both were read and the old one has deleted it.
                world.outage_at(4, Side::New, When::Before, 10 * AFTER);
                pair.delete(&name("k")).await
            }
        };
        assert!(begun.is_err());
        let half = world.held("k").await.map(|value| value.is_some());
        assert_eq!(half, [change == Change::Create, change == Change::Delete]);
        let mut pair = Some(pair);
        for stage in [STAGES[0], STAGES[3], STAGES[2]] {
            pair = Some(world.pair_of(stage, Arc::clone(&process)));
            time::sleep(2 * AFTER).await;
        }
        assert_eq!(process.unfinished(), 1);
        time::sleep(10 * AFTER).await;
        let whole = world.held("k").await.map(|value| value.is_some());
        assert_eq!(whole, [change == Change::Create; 2], "{change:?}");
        assert_eq!(process.unfinished(), 0);
        drop(pair);
    }
}

/// A store that is away would keep the key: it is deleted from neither.
#[tokio::test(start_paused = true)]
async fn a_delete_begins_only_if_both_stores_answer() {
    for stage in STAGES {
        for side in [Side::Old, Side::New] {
            for hangs in [false, true] {
                let world = World::new();
                world.put("k", [Some("v"), Some("v")]).await;
                world.away(side, hangs);
                let pair = world.pair(stage);
                assert!(pair.delete(&name("k")).await.is_err(), "{stage} {side:?}");
                assert_eq!(world.held("k").await, ["v", "v"].map(text_of), "{stage} {side:?}");
                assert_eq!(pair.pair().unwrap().unfinished, 0, "{stage} {side:?} {hangs}");
            }
        }
    }
}

/// `kes migrate --online --back` copies the key from the new store between the two halves of its
/// delete, and the old one is away after that.
#[tokio::test(start_paused = true)]
async fn a_key_that_is_copied_back_while_it_is_deleted_does_not_come_back() {
    for away in [None, Some(AWAY)] {
        let world = World::new();
        world.put("k", [Some("v"), Some("v")]).await;
        let pair = world.pair(STAGES[1]);
        // The delete in the new store, which is after the one in the old store.
        world.pause_at(4);
        if let Some(time) = away {
            world.outage_at(5, Side::Old, When::Before, time);
        }
        let deleting = tokio::spawn(async move { pair.delete(&name("k")).await });
        time::sleep(Duration::from_millis(10)).await;
        assert_eq!(world.held("k").await, [None, text_of("v")]);
        world.put("k", [Some("v"), Some("v")]).await;
        world.go_on();
        let deleted = deleting.await.unwrap();
        assert_eq!(deleted.is_ok(), away.is_none(), "{deleted:?}");
        time::sleep(AFTER).await;
        assert_eq!(world.held("k").await, [None, None], "{away:?}");
    }
}

/// Another server deletes the key between the two halves of its create.
#[tokio::test(start_paused = true)]
async fn a_key_that_is_deleted_while_it_is_created_does_not_come_back() {
    // The calls of the create alone.
    for at in 1..5 {
        let world = World::new();
        let [one, other] = [(); 2].map(|()| world.pair(STAGES[1]));
        world.pause_at(at);
        let creating = tokio::spawn(async move { one.create(&name("k"), &value("v")).await });
        time::sleep(Duration::from_millis(10)).await;
        let deleted = other.delete(&name("k")).await;
        world.go_on();
        let created = creating.await.unwrap();
        time::sleep(AFTER).await;
        let held = world.held("k").await;
        let stands = held.clone().map(|value| value.is_some());
        match (&created, &deleted) {
            (Ok(()), Err(Error::NotFound { .. })) => assert_eq!(stands, [true, true], "{at}"),
            (Err(_), Ok(())) | (Ok(()), Ok(())) => {
                assert_eq!(stands, [false, false], "{at}: {held:?}")
            }
            outcome => panic!("{at}: {outcome:?} {held:?}"),
        }
    }
}

/// Another server creates the name anew between the two halves of a delete: neither the key that is not
/// copied yet is in its way, nor does the second half take the new one.
#[tokio::test(start_paused = true)]
async fn a_delete_leaves_a_key_that_was_created_after_its_first_half() {
    let world = World::new();
    world.put("k", [Some("v"), None]).await;
    let [one, other] = [(); 2].map(|()| world.pair(STAGES[1]));
    // The first call after the delete in the old store.
    world.pause_at(4);
    let deleting = tokio::spawn(async move { one.delete(&name("k")).await });
    time::sleep(Duration::from_millis(10)).await;
    assert_eq!(world.held("k").await, [None, None]);
    other.create(&name("k"), &value("anew")).await.unwrap();
    world.go_on();
    deleting.await.unwrap().unwrap();
    assert_eq!(world.held("k").await, ["anew", "anew"].map(text_of));
}

/// Two other servers delete the key and create the name anew between the two halves of its create. Both
/// values are kept, and told.
#[tokio::test(start_paused = true)]
async fn a_create_whose_name_another_one_has_taken_is_no_success() {
    let world = World::new();
    let pair = world.pair(STAGES[1]);
    // The create in the new store.
    world.pause_at(3);
    let creating = tokio::spawn(async move { pair.create(&name("k"), &value("v")).await });
    time::sleep(Duration::from_millis(10)).await;
    assert_eq!(world.held("k").await, [text_of("v"), None]);
    world.put("k", [Some("anew"), None]).await;
    world.go_on();
    let created = creating.await.unwrap();
    assert!(matches!(created, Err(Error::Unusable { .. })), "{created:?}");
    assert_eq!(world.held("k").await, ["anew", "v"].map(text_of));
}
