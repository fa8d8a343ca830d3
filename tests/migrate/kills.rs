use std::process::Stdio;
use std::time::{Duration, Instant};

use kes_testkit::{Bao, Process};

use super::{World, stored};

const KEYS: u32 = 1_000;

const KILLS: usize = 50;

/// Starts a run and kills it once the target is as far as `is_there` says. Returns whether it was
/// killed before its end.
fn kill_when(world: &World, args: &[&str], mut is_there: impl FnMut() -> bool) -> bool {
    let mut command =
        world.command(&[&["--from", "from.yml", "--to", "to.yml", "-q"], args].concat());
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
fn after_fifty_kills_no_key_is_lost_or_different() {
    let world = World::with_keys(KEYS);
    let source = world.keys("from");
    let arrived = || match std::fs::read_dir(world.path("to")) {
        Ok(entries) => entries.filter(|entry| !is_hidden(entry.as_ref().unwrap())).count(),
        Err(_) => 0,
    };
    let (mut kills, mut rounds) = (0, 0);
    while kills < KILLS {
        assert!(rounds < 10 * KILLS, "{kills} kills");
        let before = arrived();
        // After another number of keys each time.
        let more = rounds * 7 % 20;
        rounds += 1;
        if before + more >= source.len() || !kill_when(&world, &[], || arrived() > before + more) {
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
    assert_eq!(world.keys("from"), source);
    let before = arrived();
    let ran = world.run(&[]);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:#?}");
    let there = format!("{before:6} keys already there\n");
    assert!(before < 2 || ran.stdout.contains(&there), "{there} {ran:#?}");
    assert_eq!(world.keys("to"), source);
}

fn is_hidden(entry: &std::fs::DirEntry) -> bool {
    entry.file_name().as_encoded_bytes().starts_with(b".")
}

#[test]
fn after_kills_of_replacements_every_key_has_the_new_value() {
    let mut world = World::with_keys(KEYS);
    let source = world.keys("from");
    std::fs::create_dir(world.path("to")).unwrap();
    for number in 0..KEYS {
        world.put(&format!("to/key-{number:05}"), 10_000 + number);
    }
    let old: Vec<Vec<u8>> = (0..KEYS).map(|number| stored(10_000 + number).into_bytes()).collect();
    let done =
        || world.keys("to").iter().filter(|(name, value)| source.get(*name) == Some(value)).count();
    for round in 0..10 {
        let before = done();
        kill_when(&world, &["--force"], || done() > before + round * 7 % 20);
        for (name, value) in world.keys("to") {
            let number: usize = name["key-".len()..].parse().unwrap();
            assert!(value == source[&name] || value == old[number], "{name}");
        }
        assert_eq!(world.keys("from"), source);
    }
    let ran = world.run(&["--force"]);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:#?}");
    assert_eq!(world.keys("to"), source);
}

/// A run that was killed blocks the names that it was about to create on KV version 1. The next one
/// waits for them.
#[test]
fn a_run_to_version_1_is_completed_at_once_after_kills() {
    let mut world = World::with_keys(300);
    let bao = Bao::start_in_memory();
    let role = bao.root().set_up().kv("kv", 1).app_role();
    world.env.push(("ID".to_owned(), role.role_id));
    world.env.push(("SECRET".to_owned(), role.secret_id));
    let login = "approle: { id: \"${ID}\", secret: \"${SECRET}\" }";
    world.keystore("to", &format!("vault: {{ endpoint: \"{}\", {login} }}", bao.url()));
    let arrived = || {
        let names = bao.root().list("kv");
        names.iter().filter(|name| !name.ends_with('/')).count()
    };
    for round in 0..3 {
        let before = arrived();
        kill_when(&world, &[], || arrived() > before + 10 * round);
    }
    let ran = world.run(&[]);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:#?}");
    assert_eq!(arrived(), 300);
    world.keystore("back", "fs: { path: back }");
    let back = world.run_with(&["--from", "to.yml", "--to", "back.yml"]);
    back.is_good("Migrated    300 keys successfully!");
    assert_eq!(world.keys("back"), world.keys("from"));
}
