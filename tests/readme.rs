//! The README's tour works as it is written.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use kes_testkit::{Bao, Process, wait};

use crate::harness::program;

const README: &str = include_str!("../README.md");

#[test]
fn the_configuration_loads_without_a_warning() {
    let [yaml] = &blocks("yaml")[..] else { panic!("one configuration") };
    let env = |name: &str| match name {
        "MINIO_IDENTITY" => Some("0".repeat(64)),
        "APPROLE_ID" | "APPROLE_SECRET" => Some("0b5d6c2e-0000-4000-8000-000000000001".to_owned()),
        _ => None,
    };
    let loaded = kes_config::parse(yaml, &env).unwrap();
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings, [""; 0]);
    assert!(loaded.config.policies.admin().is_none());
}

/// Every command that the README names is there, with its flags.
#[test]
fn the_commands_exist() {
    let commands = commands();
    assert!(commands.len() >= 10, "{commands:?}");
    for line in commands {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        // Names of what a command acts on follow its own name: at most two words are its own.
        let own = words.iter().take_while(|word| is_command_word(word)).take(2).count();
        let help = |own: usize| {
            let output = Command::new(program())
                .args(&words[..own])
                .arg("--help")
                .stdin(Stdio::null())
                .output()
                .unwrap();
            String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
        };
        let usage = |own: usize| format!("kes {}", words[..own].join(" ")).trim_end().to_owned();
        let Some((own, help)) = (1..=own)
            .rev()
            .map(|own| (own, help(own)))
            .find(|(own, help)| help.contains("Usage") && help.contains(&usage(*own)))
        else {
            panic!("no help for '{line}'")
        };
        for flag in words[own..].iter().filter(|word| word.starts_with('-')) {
            assert!(help.contains(flag), "'{line}': {flag} is not in {help}");
        }
    }
}

/// The commands of the section on Vault are run as they stand, with `bao` as `vault`.
#[test]
fn the_tour_with_vault_works() {
    let bao = Bao::start();
    let folder = tempfile::tempdir().unwrap();
    let bin = folder.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    symlink(format!("/proc/{}/exe", bao.process_id()), bin.join("vault")).unwrap();
    symlink(program(), bin.join("kes")).unwrap();

    let (_, section) = README.split_once("### With Vault or OpenBao").unwrap();
    let [set_up, start, use_it, ..] = &blocks_of(section, "sh")[..] else { panic!("three blocks") };
    let shell = Shell { folder: folder.path(), bao: &bao };
    let said = shell.run(set_up);
    let role = bao.root().must("GET", "auth/approle/role/kes/role-id", None).json();
    let role = role["data"]["role_id"].as_str().unwrap();
    assert!(said.contains(role), "{said}");
    let secret = bao.root().create_secret_id("approle", "kes");

    let [yaml] = &blocks("yaml")[..] else { panic!("one configuration") };
    let yaml = replace(yaml, "0.0.0.0:7373", "127.0.0.1:0");
    let yaml = replace(&yaml, "http://127.0.0.1:8200", &bao.url());
    std::fs::write(folder.path().join("config.yml"), yaml).unwrap();
    let start = replace(start, "APPROLE_ID=…", &format!("APPROLE_ID={role}"));
    let start = replace(&start, "APPROLE_SECRET=…", &format!("APPROLE_SECRET={secret}"));
    let start = replace(&start, "kes server", "exec kes server");
    let printed = folder.path().join("printed");
    let mut command = shell.command(&start);
    command.stdout(File::create(&printed).unwrap());
    let _server = Process::start(command);

    let mut address = None;
    wait::eventually(Duration::from_secs(60), "the server says where it listens", || {
        let printed = std::fs::read_to_string(&printed).unwrap();
        address = printed
            .split_once("Endpoints")
            .and_then(|(_, after)| after.split_once('\n'))
            .map(|(line, _)| line.trim().to_owned());
        address.is_some()
    });
    shell.run(&replace(use_it, "https://127.0.0.1:7373", &address.unwrap()));
    assert_eq!(bao.root().list("kv"), ["encrypted-bucket-key"]);
}

/// Runs what a reader types.
struct Shell<'a> {
    folder: &'a Path,
    bao: &'a Bao,
}

impl Shell<'_> {
    fn run(&self, script: &str) -> String {
        let output = self.command(script).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{script}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn command(&self, script: &str) -> Command {
        let path = std::env::var("PATH").unwrap();
        let mut command = Process::command(Path::new("/bin/sh"));
        command
            .args(["-eu", "-c", script])
            .current_dir(self.folder)
            .stdin(Stdio::null())
            .env("PATH", format!("{}:{path}", self.folder.join("bin").display()))
            .env("HOME", self.folder)
            .env("VAULT_ADDR", format!("http://{}", self.bao.admin_address()))
            .env("VAULT_TOKEN", self.bao.root_token());
        command
    }
}

fn blocks(language: &str) -> Vec<String> {
    blocks_of(README, language)
}

/// The code blocks of a text in one language.
fn blocks_of(text: &str, language: &str) -> Vec<String> {
    let opening = format!("```{language}\n");
    text.split(&opening)
        .skip(1)
        .map(|rest| rest.split_once("```").expect("a block ends").0.to_owned())
        .collect()
}

/// Every `kes …` of the README, from code blocks and from the running text.
fn commands() -> BTreeSet<String> {
    let in_blocks = blocks("sh").concat();
    let without_comments = in_blocks.lines().map(|line| line.split('#').next().unwrap_or_default());
    let lines = without_comments.map(|line| line.replace("cargo run -- ", "kes "));
    let blocks = README.split("```");
    let prose = blocks.step_by(2).flat_map(|text| text.split('`').skip(1).step_by(2));
    let prose = prose.map(|code| code.replace("cargo run -- ", "kes "));
    lines
        .chain(prose)
        .flat_map(|line| line.split("$(").map(str::to_owned).collect::<Vec<_>>())
        .map(|line| line.split(')').next().unwrap_or_default().trim().to_owned())
        .filter(|line| line.starts_with("kes ") && !line.contains('…'))
        .collect()
}

fn is_command_word(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_lowercase())
}

/// Replaces what has to stand in a text.
fn replace(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "'{from}' is not in: {text}");
    text.replace(from, to)
}
