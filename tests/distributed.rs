//! Three servers of ours behind a load balancer, on a Vault of three nodes: what clients notice
//! when a part of it goes away, comes back, or is configured anew (contract `vault.md`, Outages).

mod load;
mod tally;
mod world;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kes_testkit::wait;

use load::Load;
use tally::{Class, Tally};
use world::World;

/// For what takes seconds at most.
const LIMIT: Duration = Duration::from_secs(30);

/// The time that a gap may last beyond Vault's own election, and the time that it may last where
/// nothing of Vault is touched. Some 0.2 s on an idle machine; how much longer is for a busy one.
const BRIDGE: Duration = Duration::from_secs(20);

/// How often a part of the test is tried again when Vault elects in the middle of it.
const TRIES: usize = 5;

#[test]
fn no_outage() {
    std::thread::scope(|scope| {
        for version in [1, 2] {
            scope.spawn(move || goes_on(version));
        }
    });
}

fn goes_on(version: u8) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut world = World::new(version);
    let tally = Arc::new(Tally::start());
    let load = runtime.block_on(Load::start(&world, &tally));

    let quiet = undisturbed(&mut world, &tally, |_| pass(Duration::from_secs(2)));
    let mut election = Duration::ZERO;
    let vault = phase(&tally, || {
        let active = world.cluster.wait_for_active();
        world.cluster.kill(active);
        let start = Instant::now();
        world.cluster.wait_for_active();
        election = start.elapsed();
        pass(Duration::from_secs(2));
        world.cluster.start_again(active);
        pass(Duration::from_secs(1));
    });
    let kills = tally.now();
    let ours = undisturbed(&mut world, &tally, |world| {
        world.servers[0].process().kill();
        world.wait_for_up([false, true, true]);
        pass(Duration::from_secs(1));
        world.servers[0].restart();
        world.wait_for_up([true, true, true]);
        let before = world.haproxy.servers()[0].connections;
        wait::eventually(LIMIT, "the server has its part again", || {
            world.haproxy.servers()[0].connections > before + 5
        });
    });
    let kills = kills..tally.now();
    let roll = undisturbed(&mut world, &tally, |world| {
        for number in 0..world.servers.len() {
            world.configure_anew(number);
            pass(Duration::from_millis(500));
        }
    });

    let held_up = runtime.block_on(async {
        let made = load.finish().await;
        world.all_are_configured_anew().await;
        made.open_everywhere(&world).await;
        if version == 1 {
            // Nothing else keeps a name from others, such as an election of Vault's.
            assert!(made.given_up_in(&kills) <= TRIES * load::PAIRS);
            made.held_up(&world, &kills).await
        } else {
            // v2 knows no such thing.
            made.held_up(&world, &(Duration::ZERO..Duration::ZERO)).await
        }
    });
    tally.tell(
        &format!("KV v{version}, election {election:.1?}"),
        &[
            ("quiet", quiet),
            ("Vault's active node killed", vault),
            ("one of ours killed", ours),
            ("configured anew", roll),
        ],
    );

    let complaints = world.complaints();
    for class in Class::ALL {
        assert!(tally.longest_gap(class, vault) <= election + BRIDGE, "{class:?}");
        for (what, window) in [("quiet", quiet), ("ours", ours), ("roll", roll)] {
            assert!(tally.longest_gap(class, window) <= BRIDGE, "{what}: {class:?}");
        }
        // A new configuration costs nobody an answer or a connection.
        for (what, window) in [("quiet", quiet), ("roll", roll)] {
            assert_eq!(tally.failures(class, window), 0, "{what}: {class:?}\n{complaints}");
        }
        // Of ours that was killed there are connections that broke, and nothing else.
        assert_eq!(tally.refusals(class, ours), 0, "ours: {class:?}\n{complaints}");
    }
    assert_eq!(held_up, [], "killed in {kills:?}\n{complaints}");
    // Whoever has its key in memory does not notice that Vault elects.
    assert_eq!(tally.failures(Class::Cached, vault), 0, "{complaints}");
}

/// Does something while the load goes on, and returns from when to when that was.
fn phase(tally: &Tally, act: impl FnOnce()) -> [Duration; 2] {
    let start = tally.now();
    act();
    [start, tally.now()]
}

/// The same with a Vault that goes on. One of a busy machine may elect anew at any time; what was
/// measured while it did says nothing of ours, and is measured again.
fn undisturbed(world: &mut World, tally: &Tally, mut act: impl FnMut(&mut World)) -> [Duration; 2] {
    for _ in 0..TRIES {
        let before = world.cluster.wait_for_leadership();
        let window = phase(tally, || act(world));
        if world.cluster.leadership() == Some(before) {
            return window;
        }
    }
    panic!("Vault elects again and again")
}

/// Lets the load go on for a time.
fn pass(time: Duration) {
    std::thread::sleep(time);
}
