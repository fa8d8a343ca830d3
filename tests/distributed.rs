//! Three servers of ours behind a load balancer, on a Vault of three nodes: what clients notice
//! when a part of it goes away, comes back, or is configured anew (contract `vault.md`, Outages).
//! Two such groups of servers, one for each version of KV, share the Vault: its nodes are what
//! costs most here.

mod load;
mod tally;
mod world;

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kes_testkit::wait;

use load::{Load, Made};
use tally::{Class, Tally, Window};
use world::{Site, World};

/// For what takes seconds at most.
const LIMIT: Duration = Duration::from_secs(30);

/// The time that a gap may last beyond Vault's own election, and the time that it may last where
/// nothing of Vault is touched. Some 0.2 s on an idle machine; how much longer is for a busy one.
const BRIDGE: Duration = Duration::from_secs(20);

/// How often a part of the test is tried again when Vault elects in the middle of it.
const TRIES: usize = 5;

#[test]
fn no_outage() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut world = World::new();
    let clock = Instant::now();
    let tallies = [(); 2].map(|()| Arc::new(Tally::since(clock)));
    let loads = {
        let _entered = runtime.enter();
        [0, 1].map(|at| Load::start(&world.sites[at], &tallies[at]))
    };

    let quiet = undisturbed(&mut world, clock, |_| pass(Duration::from_secs(2)));
    let mut election = Duration::ZERO;
    let vault = phase(clock, || {
        let active = world.cluster.wait_for_active();
        world.cluster.kill(active);
        let start = Instant::now();
        world.cluster.wait_for_active();
        election = start.elapsed();
        pass(Duration::from_secs(2));
        world.cluster.start_again(active);
        pass(Duration::from_secs(1));
    });
    let kills = clock.elapsed();
    let ours = undisturbed(&mut world, clock, |world| {
        for site in &mut world.sites {
            site.servers[0].process().kill();
        }
        for site in &world.sites {
            site.wait_for_up([false, true, true]);
        }
        pass(Duration::from_secs(1));
        for site in &mut world.sites {
            site.servers[0].restart();
        }
        for site in &world.sites {
            site.wait_for_up([true, true, true]);
            let connections = || site.haproxy.servers()[0].connections;
            let before = connections();
            wait::eventually(LIMIT, "the server has its part again", || connections() > before + 5);
        }
    });
    let kills = kills..clock.elapsed();
    let roll = undisturbed(&mut world, clock, |world| {
        for number in 0..3 {
            for site in &world.sites {
                site.configure_anew(number);
            }
            pass(Duration::from_millis(500));
        }
    });

    let windows = Windows { quiet, vault, ours, roll, kills, election };
    // The load of both ends before anything of it is looked at.
    let made = loads.map(|load| runtime.block_on(load.finish()));
    for ((site, tally), made) in world.sites.iter().zip(&tallies).zip(&made) {
        runtime.block_on(windows.hold(site, tally, made));
    }
}

/// From when to when what happened.
struct Windows {
    quiet: Window,
    /// Vault's active node was killed.
    vault: Window,
    /// One of ours was killed and started again, once at least.
    ours: Window,
    /// Each of ours was configured anew.
    roll: Window,
    /// All tries of `ours`.
    kills: Range<Duration>,
    /// How long Vault had no active node.
    election: Duration,
}

impl Windows {
    /// What the clients of a site met is what they may meet.
    async fn hold(&self, site: &Site, tally: &Tally, made: &Made) {
        let &Self { quiet, vault, ours, roll, ref kills, election } = self;
        site.all_are_configured_anew().await;
        made.open_everywhere(site).await;
        let held_up = if site.version == 1 {
            // Nothing else keeps a name from others, such as an election of Vault's.
            assert!(made.given_up_in(kills) <= TRIES * load::PAIRS);
            made.held_up(site, kills).await
        } else {
            // v2 knows no such thing.
            made.held_up(site, &(Duration::ZERO..Duration::ZERO)).await
        };
        tally.tell(
            &format!("KV v{}, election {election:.1?}", site.version),
            &[
                ("quiet", quiet),
                ("Vault's active node killed", vault),
                ("one of ours killed", ours),
                ("configured anew", roll),
            ],
        );

        let complaints = format!("KV v{}\n{}", site.version, site.complaints());
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
}

/// Does something while the load goes on, and returns from when to when that was.
fn phase(clock: Instant, act: impl FnOnce()) -> Window {
    let start = clock.elapsed();
    act();
    [start, clock.elapsed()]
}

/// The same with a Vault that goes on. One of a busy machine may elect anew at any time; what was
/// measured while it did says nothing of ours, and is measured again.
fn undisturbed(world: &mut World, clock: Instant, mut act: impl FnMut(&mut World)) -> Window {
    for _ in 0..TRIES {
        let before = world.cluster.wait_for_leadership();
        let window = phase(clock, || act(world));
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
