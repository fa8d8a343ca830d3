use std::process::Stdio;
use std::time::{Duration, Instant};

use kes_testkit::Process;

use super::World;

const KEYS: u32 = 1_000;

const KILLS: usize = 20;

/// Starts a run and kills it once it is as far as `is_there` says. Whether it was killed before its end.
fn kill_when(world: &World, args: &[&str], mut is_there: impl FnMut() -> bool) -> bool {
    let mut command = world.command(args);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = Process::start(command);
    let start = Instant::now();
    // Without a pause: all keys arrive within a second.
    while !is_there() {
        if !process.is_running() {
            return false;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "no key arrives");
    }
    process.kill();
    true
}

#[test]
fn a_restore_that_was_killed_is_completed_by_another_run() {
    let world = World::with_keys(KEYS);
    let source = world.keys("from");
    world.backup("from.yml", &[]).is_good();
    let args = ["restore", "keys.age", "--config", "to.yml", "-i", "identity.txt", "-q"];
    let arrived = || world.keys("to").len();
    let (mut kills, mut rounds) = (0, 0);
    while kills < KILLS {
        assert!(rounds < 10 * KILLS, "{kills} kills");
        let (before, more) = (arrived(), rounds * 7 % 20);
        rounds += 1;
        if before + more >= source.len() || !kill_when(&world, &args, || arrived() > before + more)
        {
            // The machine was fast: there is more to do again.
            for name in source.keys().skip(rounds % 2).step_by(2) {
                let _ = std::fs::remove_file(world.path("to").join(name));
            }
            continue;
        }
        kills += 1;
        // What has arrived is whole.
        for (name, value) in world.keys("to") {
            assert_eq!(Some(&value), source.get(&name), "{name} after {kills}");
        }
    }
    world.restore("to.yml", &[]).is_good();
    assert_eq!(world.keys("to"), source);
}

/// What has the name of a backup is a whole one.
#[test]
fn a_backup_that_was_killed_has_no_name() {
    let world = World::with_keys(KEYS);
    let args = ["backup", "--config", "from.yml", "-r", &world.recipient, "-o", "keys.age", "-q"]
        .map(str::to_owned);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut kills = 0;
    for round in 0..10 {
        let mut looks = 0;
        let is_begun = || {
            looks += usize::from(!world.names(".keys.age").is_empty());
            looks > round * 3
        };
        kills += usize::from(kill_when(&world, &args, is_begun));
        if world.path("keys.age").exists() {
            world.run(&["restore", "keys.age", "--config", "to.yml", "-i", "identity.txt"]);
            assert_eq!(world.keys("to"), world.keys("from"));
        }
        for name in [world.names(".keys"), world.names("keys")].concat() {
            std::fs::remove_file(world.path(&name)).unwrap();
        }
    }
    assert!(kills > 0, "each run had ended before");
    world.backup("from.yml", &[]).is_good();
    world.verify(&["-i", "identity.txt"]).is_good();
}
