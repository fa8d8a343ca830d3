use std::fs::OpenOptions;
use std::io::Read as _;
use std::process::Stdio;
use std::time::Duration;

use kes_testkit::{Process, wait};

use super::World;

/// A machine that is busy with a build.
const PATIENCE: Duration = Duration::from_secs(60);

const FILES: [&str; 4] = ["--from", "from.yml", "--to", "to.yml"];

fn ends_with(mut process: Process) -> Option<i32> {
    let mut status = None;
    wait::eventually(PATIENCE, "the run ends", || {
        status = process.exit_status();
        status.is_some()
    });
    status.unwrap().code()
}

/// The reader of standard output goes away.
#[test]
fn a_closed_pipe_ends_no_migration() {
    let world = World::with_keys(500);
    let mut command = world.command(&FILES);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = Process::start(command);
    drop(process.take_stdout());
    assert_eq!(ends_with(process), Some(0));
    assert_eq!(world.keys("to"), world.keys("from"));
}

#[test]
fn a_full_disk_is_an_error_and_ends_no_migration() {
    for (more, arrived) in [(&["--dry-run"][..], 0), (&[], 3), (&["--quiet"], 3)] {
        let world = World::with_keys(3);
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = world.command(&[&FILES, more].concat()).stdout(full).output().unwrap();
        let ran = world.ran(&output);
        assert_eq!(ran.status, 1, "{more:?} {ran:#?}");
        let [error] = ran.errors()[..] else { panic!("{more:?} {ran:#?}") };
        assert!(error.starts_with("failed to write to standard output: No space left"), "{error}");
        assert_eq!(world.keys("to").len(), arrived, "{more:?}");
    }
}

/// Nobody reads standard error, and there is more to warn of than it takes.
#[test]
fn warnings_that_nobody_reads_hold_no_key() {
    // 10,000 are told at the end, 1,000 wait, and the pipe takes a few hundred.
    const NO_KEYS: usize = 13_000;
    let mut world = World::new();
    for number in 0..NO_KEYS {
        world.write(&format!("from/a-{number:05}"), "no stored key");
    }
    world.put("from/z", 1);
    let mut command = world.command(&FILES);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut process = Process::start(command);
    wait::eventually(PATIENCE, "the last key arrives", || world.path("to/z").exists());

    let mut told = String::new();
    process.take_stderr().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!(ends_with(process), Some(0));
    let mut lines: Vec<&str> = told.lines().collect();
    let rest = lines.pop().unwrap();
    let rest = rest.strip_prefix("Warning: ").and_then(|rest| {
        rest.strip_suffix(
            " more keys were not migrated, of which standard error could not be told in time, and \
             are not named here",
        )
    });
    let rest: usize = rest.unwrap_or_else(|| panic!("{:?}", lines.last())).parse().unwrap();
    assert!(rest > 0 && lines.len() > 10_000, "{rest} {}", lines.len());
    assert_eq!(lines.len() + rest, NO_KEYS);
}
