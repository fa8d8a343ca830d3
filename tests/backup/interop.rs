//! Files of this program are opened by `age` and by another implementation, and theirs by this one.

use std::fs;
use std::process::{Command, Stdio};

use kes_testkit::age;
use serde_json::Value;

use super::World;

fn output(command: &mut Command) -> Vec<u8> {
    let output = command.stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn age_opens_a_backup_and_each_line_is_a_key() {
    let world = World::with_keys(700);
    world.backup("from.yml", &[]).is_good();
    let mut command = age::age();
    let content = output(
        command.arg("-d").arg("-i").args([world.path("identity.txt"), world.path("keys.age")]),
    );
    let text = String::from_utf8(content).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 702);
    assert_eq!((&lines[0]["format"], &lines[0]["version"]), (&"kes-backup".into(), &1.into()));
    assert_eq!(lines[701]["keys"], 700);
    for (line, (name, value)) in lines[1..].iter().zip(world.keys("from")) {
        assert_eq!(line["name"], name);
        assert_eq!(line["value"].as_str().unwrap().as_bytes(), value);
    }
}

#[test]
fn what_age_sealed_is_restored() {
    let world = World::with_keys(700);
    world.backup("from.yml", &[]).is_good();
    let open = |file: &str| {
        let mut command = age::age();
        output(command.args(["-d", "-i"]).args([world.path("identity.txt"), world.path(file)]))
    };
    let content = open("keys.age");
    fs::write(world.path("content"), &content).unwrap();
    let mut command = age::age();
    command.args(["-r", &world.recipient, "-o"]);
    output(command.args([world.path("keys.age"), world.path("content")]));
    assert_eq!(open("keys.age"), content);
    world.restore("to.yml", &[]).is_good();
    assert_eq!(world.keys("to"), world.keys("from"));
    // Armor is none of ours.
    let mut command = age::age();
    command.args(["-a", "-r", &world.recipient, "-o"]);
    output(command.args([world.path("keys.age"), world.path("content")]));
    world.restore("to.yml", &[]).fails("in armor");
    // Whoever knows the recipient can seal what is no backup.
    fs::write(world.path("content"), "hello\n").unwrap();
    let mut command = age::age();
    command.args(["-r", &world.recipient, "-o"]);
    output(command.args([world.path("keys.age"), world.path("content")]));
    world.restore("to.yml", &[]).fails("is no backup of kes");
}

#[test]
fn passphrases_are_those_of_another_implementation() {
    const OPEN: &str = "import sys, pyrage\n\
        data = open(sys.argv[1], 'rb').read()\n\
        open(sys.argv[2], 'wb').write(pyrage.passphrase.decrypt(data, 'correct horse'))";
    const SEAL: &str = "import sys, pyrage\n\
        data = open(sys.argv[1], 'rb').read()\n\
        open(sys.argv[2], 'wb').write(pyrage.passphrase.encrypt(data, 'correct horse'))";
    let world = World::with_keys(3);
    fs::write(world.path("pass.txt"), "correct horse").unwrap();
    let pass = ["--passphrase-file", "pass.txt"];
    let backup = ["backup", "--config", "from.yml", "-o", "keys.age"];
    assert_eq!(world.run(&[&backup[..], &pass].concat()).status, 0);
    let python = |script: &str, from: &str, to: &str| {
        let mut command = age::pyrage();
        output(command.arg("-c").arg(script).args([world.path(from), world.path(to)]));
    };
    python(OPEN, "keys.age", "content");
    let content = fs::read_to_string(world.path("content")).unwrap();
    assert_eq!(content.lines().count(), 5);
    python(SEAL, "content", "keys.age");
    let ran = world.run(&[&["restore", "keys.age", "--config", "to.yml"], &pass[..]].concat());
    assert_eq!(ran.status, 0, "{ran:#?}");
    assert_eq!(world.keys("to"), world.keys("from"));
}
