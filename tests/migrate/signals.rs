use std::process::Stdio;
use std::time::Duration;

use kes_testkit::{Process, wait};
use rustix::process::Signal;

use super::{World, hidden};

#[test]
fn a_signal_completes_the_keys_at_work_and_tells_the_totals() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let world = World::with_keys(5_000);
        let mut command = world.command(&["--from", "from.yml", "--to", "to.yml"]);
        let (out, err) = (world.path("out"), world.path("err"));
        command
            .stdout(Stdio::from(std::fs::File::create(&out).unwrap()))
            .stderr(Stdio::from(std::fs::File::create(&err).unwrap()));
        let mut process = Process::start(command);
        wait::eventually(Duration::from_secs(60), "the first key arrives", || {
            world.keys("to").len() > 5
        });
        process.signal(signal);
        let mut status = None;
        wait::eventually(Duration::from_secs(60), "the run ends", || {
            status = process.exit_status();
            status.is_some()
        });
        let (out, err) =
            (std::fs::read_to_string(out).unwrap(), std::fs::read_to_string(err).unwrap());
        assert_eq!(status.unwrap().code(), Some(1), "{signal:?} {out} {err}");
        let arrived = world.keys("to");
        assert!(arrived.len() < 5_000);
        assert_eq!(out.lines().last(), Some(&*format!("Migrated {:6} keys.", arrived.len())));
        let expected = format!(
            "Error: stopped by a signal after {} of 5000 keys; run it again to complete it\n",
            arrived.len()
        );
        assert_eq!(err, expected);
        assert_eq!(hidden(&world.path("to")), [".kes-folder"]);
        let source = world.keys("from");
        assert!(arrived.iter().all(|(name, value)| source.get(name) == Some(value)));
    }
}
