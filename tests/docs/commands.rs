//! Commands that stand in sentences and tables exist, with all their flags. They are not run: a
//! bench takes minutes, and what a reader types in earnest stands in a block.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use super::book::{Book, Code, root};
use crate::harness::program;

/// Commands of programs that this machine may not have, each of which a test or a document
/// elsewhere shows at work.
const ELSEWHERE: [(&str, &str); 28] = [
    ("curl -sI ENDPOINT", "docs/vault.md"),
    ("openssl s_client", "docs/vault.md"),
    (
        "openssl s_client -connect HOST:PORT </dev/null | openssl x509 -noout -ext subjectAltName",
        "docs/vault.md",
    ),
    ("openssl rand -base64 48", "audit/src/key.rs"),
    ("openssl pkey -in old.pem -out new.pem", "tests/fips.rs"),
    ("mc encrypt set sse-s3 <alias>/<bucket>", "tests/minio.rs"),
    ("mc admin kms key create", "docs/guide.md"),
    ("mc stat", "docs/guide.md"),
    ("mc admin kms key list", "tests/minio.rs"),
    ("systemctl edit kes", "docs/vault.md"),
    ("systemctl restart kes", "docs/vault.md"),
    ("systemctl reload kes", "systemd/README.md"),
    ("systemctl status kes", "systemd/README.md"),
    ("systemctl --version", "systemd/README.md"),
    ("systemctl edit kes.socket", "systemd/README.md"),
    ("systemctl enable --now kes@tenant-1", "systemd/README.md"),
    ("sudo systemctl kill -s HUP kes", "docs/guide.md"),
    ("sudo systemctl kill -s USR2 --kill-whom=main kes", "docs/operate.md"),
    ("journalctl -uf kes", "docs/guide.md"),
    ("journalctl -u kes -p err", "systemd/README.md"),
    ("vault kv metadata delete", "docs/operate.md"),
    ("cargo audit bin /usr/bin/kes", ".ci/release"),
    ("sudo install kes-0.1.0-x86_64 /usr/local/bin/kes", "docs/install.md"),
    ("sudo install -d /usr/local/share/man/man1", "tests/packages.rs"),
    ("sudo kes --manual-pages /usr/local/share/man/man1", "tests/packages.rs"),
    ("bash .ci/release --static", "deploy/image/build"),
    ("bash deploy/packages/build deb", "tests/packages/debian.rs"),
    ("bash deploy/packages/build rpm", "tests/packages/rpm.rs"),
];

/// What a piece of code starts with if it is a command.
const PROGRAMS: [&str; 13] = [
    "bao",
    "bash",
    "cargo",
    "curl",
    "journalctl",
    "kes",
    "mc",
    "openssl",
    "python3",
    "sudo",
    "systemctl",
    "systemd-run",
    "vault",
];

#[test]
fn every_command_in_the_text_exists() {
    let book = Book::read();
    let mut bad = Vec::new();
    let mut count = 0;
    for code in &book.codes {
        // Variables may be set for the command.
        let words: Vec<&str> = code.text.split_whitespace().collect();
        let set = words.iter().take_while(|word| is_assignment(word)).count();
        let (set, words) = words.split_at(set);
        let [program, arguments @ ..] = words else { continue };
        // A program's name alone is its name.
        if !PROGRAMS.contains(program) || arguments.is_empty() {
            continue;
        }
        count += 1;
        if let Err(error) = variables(set).and_then(|()| check(code, program, arguments)) {
            bad.push(format!("{}:{}: `{}`: {error}", code.document, code.line, code.text));
        }
    }
    assert!(count > 20, "{count} commands");
    assert_eq!(bad, [""; 0]);
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
    })
}

/// Variables that are set for tests and benches are read by one of them.
fn variables(set: &[&str]) -> Result<(), String> {
    for word in set {
        let name = word.split('=').next().unwrap();
        let places = [
            "tests/harness/server.rs",
            "tests/image.rs",
            "tests/kills.rs",
            "tests/kubernetes.rs",
            "tests/operations/browser.rs",
            "tests/vault/soak.rs",
            "benches/serve/main.rs",
            "cli/env.rs",
        ];
        if !places.iter().any(|place| source(place).contains(&format!("\"{name}\""))) {
            return Err(format!("nothing reads {name}"));
        }
    }
    Ok(())
}

fn check(code: &Code, program: &str, arguments: &[&str]) -> Result<(), String> {
    match (program, arguments) {
        ("cargo", ["run", "--", arguments @ ..]) | ("kes", arguments) => kes(arguments),
        ("cargo", ["build", "--release"]) => Ok(()),
        ("cargo", ["build", "--release", "--package", "kes", "--features", "fips"]) => Ok(()),
        ("cargo", ["test", arguments @ ..]) => cargo_test(arguments),
        ("cargo", ["bench", arguments @ ..]) => cargo_bench(arguments),
        ("python3", [".ci/assure", arguments @ ..]) => assure(arguments),
        ("bash" | "python3", [script]) if root().join(script).is_file() => Ok(()),
        ("bash", ["fuzz/run", seconds, targets @ ..]) => fuzz(seconds, targets),
        _ => {
            let known = ELSEWHERE.iter().find(|(command, _)| *command == code.text);
            let (command, place) = known.ok_or("no test knows this command")?;
            let shown: Vec<&str> = command.split_whitespace().take(3).collect();
            let is_shown = shown.iter().all(|word| source(place).contains(word));
            if is_shown { Ok(()) } else { Err(format!("{place} does not show it")) }
        }
    }
}

/// A command of the program exists, with its flags: they stand in its help.
fn kes(arguments: &[&str]) -> Result<(), String> {
    let is_own = |word: &&&str| word.chars().all(|c| c.is_ascii_lowercase());
    // Names of what a command acts on follow its own name: at most two words are its own.
    let most = arguments.iter().take_while(is_own).take(2).count();
    let (own, help) = (0..=most)
        .rev()
        .map(|own| (own, help(&arguments[..own])))
        .find(|(own, help)| {
            let usage = ["kes"].iter().chain(&arguments[..*own]).copied().collect::<Vec<_>>();
            help.contains(&format!("Usage: {}", usage.join(" ")))
        })
        .ok_or("there is no help for it")?;
    if own == 0 && most > 0 {
        return refused_by_name(arguments);
    }
    let flags = arguments[own..].iter().filter(|word| word.starts_with('-'));
    for flag in flags.map(|flag| flag.split('=').next().unwrap()) {
        let is_there = help.split(|c: char| c.is_whitespace() || c == ',').any(|word| word == flag);
        if !is_there {
            return Err(format!("{flag} is not in its help"));
        }
    }
    Ok(())
}

/// A command of the reference that is not there is refused with a sentence about it.
fn refused_by_name(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program()).args(arguments).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    if said.contains("is not available") { Ok(()) } else { Err(said) }
}

fn help(own: &[&str]) -> String {
    let mut command = Command::new(program());
    command.args(own).arg("--help").stdin(Stdio::null());
    let output = command.output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

fn cargo_test(arguments: &[&str]) -> Result<(), String> {
    match arguments {
        [] => Ok(()),
        ["-p", package, filter @ ..] => {
            let folder = package.trim_start_matches("kes-");
            let manifest = format!("{folder}/Cargo.toml");
            if !root().join(&manifest).is_file() {
                return Err(format!("there is no {manifest}"));
            }
            let is_module = |one: &str| {
                source(&format!("{folder}/src/tests.rs")).contains(&format!("\nmod {one};"))
            };
            match filter.iter().find(|one| !is_module(one)) {
                Some(filter) => Err(format!("no module of its tests is {filter}")),
                None => Ok(()),
            }
        }
        ["--test", target, filter @ ..] => {
            let is_target =
                source("Cargo.toml").contains(&format!("[[test]]\nname = \"{target}\""));
            let modules = source("tests/main.rs");
            let missing = filter.iter().find(|one| !modules.contains(&format!("\nmod {one};")));
            match missing {
                _ if !is_target => Err(format!("there is no test target {target}")),
                Some(filter) => Err(format!("no module of the tests is {filter}")),
                None => Ok(()),
            }
        }
        _ => Err("no test knows these arguments of cargo test".to_owned()),
    }
}

fn fuzz(seconds: &str, targets: &[&str]) -> Result<(), String> {
    let is_target = |name: &&&str| root().join(format!("fuzz/targets/{name}.rs")).is_file();
    match (seconds.parse::<u32>(), targets.iter().find(|name| !is_target(name))) {
        (Err(error), _) => Err(error.to_string()),
        (Ok(_), Some(name)) => Err(format!("there is no target {name}")),
        (Ok(_), None) => Ok(()),
    }
}

/// Its own help has the flags, and its list has the numbers.
fn assure(arguments: &[&str]) -> Result<(), String> {
    let told = |flag: &str| {
        let mut command = Command::new("python3");
        command.arg(root().join(".ci/assure")).arg(flag);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let (help, list) = (told("--help"), told("--list"));
    let is_known = |word: &&&str| {
        word.starts_with('-') && help.contains(&format!("[{word}]"))
            || list.lines().any(|line| line.starts_with(&format!("| {word} |")))
    };
    match arguments.iter().find(|word| !is_known(word)) {
        Some(word) => Err(format!(".ci/assure does not know {word}")),
        None => Ok(()),
    }
}

fn cargo_bench(arguments: &[&str]) -> Result<(), String> {
    let (name, arguments) = match arguments {
        [] => return Ok(()),
        ["--bench", name] => (name, &[][..]),
        ["--bench", name, "--", arguments @ ..] => (name, arguments),
        _ => return Err("no test knows these arguments of cargo bench".to_owned()),
    };
    let manifest = source("Cargo.toml");
    let (_, after) = manifest
        .split_once(&format!("[[bench]]\nname = \"{name}\"\npath = \""))
        .ok_or_else(|| format!("there is no bench {name}"))?;
    let main = after.split('"').next().unwrap();
    // A mode is an arm of the bench's main file, any other word a part of a row's name.
    let mut words: BTreeSet<String> = BTreeSet::new();
    let mut files = vec![main.to_owned()];
    if *name == "serve" {
        files.extend(["benches/serve/load.rs".to_owned(), "benches/serve/table.rs".to_owned()]);
    }
    for file in files {
        let text = source(&file);
        let strings = text.split('"').skip(1).step_by(2);
        words.extend(strings.flat_map(|string| string.split([' ', ','])).map(str::to_owned));
    }
    let unknown = arguments.iter().find(|word| !word.starts_with('<') && !words.contains(**word));
    match unknown {
        Some(word) => Err(format!("{main} does not know '{word}'")),
        None => Ok(()),
    }
}

fn source(path: &str) -> String {
    std::fs::read_to_string(root().join(Path::new(path))).unwrap()
}
