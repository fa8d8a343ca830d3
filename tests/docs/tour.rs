//! The README's tour, from building the program to a key in Vault.

use kes_testkit::Bao;

use super::Runner;
use super::book::Book;
use super::session::Session;

/// The README from its start, with what the dev server prints pasted as it is printed.
#[test]
fn the_tour_with_a_dev_server_works() {
    let mut session = Session::new();
    let mut pasted = false;
    for block in Book::read().blocks_of(Runner::DevTour) {
        for ran in session.run(block) {
            let (command, stdout) = (ran.command.as_str(), ran.stdout.as_str());
            if command == "kes server --dev" {
                let groups = groups(stdout);
                let [command_line, minio] = &groups[..] else { panic!("two groups: {stdout}") };
                paste(&mut session, command_line);
                paste(&mut session, minio);
                pasted = true;
            } else if command.starts_with("kes key decrypt") {
                assert!(stdout.contains("plaintext"), "{stdout}");
            } else if command.starts_with("kes key ls") {
                assert!(stdout.contains("my-key"), "{stdout}");
            }
        }
    }
    assert!(pasted, "the README starts a dev server");
    assert_eq!(session.notes()[0], "cargo test");

    // With MinIO's variables alone, where the trust in the server is MinIO's own.
    let ran = session.run_line(
        "the dev server's output",
        "env -u KES_SERVER -u KES_API_KEY KES_CAPATH=\"$MINIO_KMS_KES_CAPATH\" \
         kes key dek \"$MINIO_KMS_KES_KEY_NAME\"",
    );
    assert!(ran.stdout.contains("ciphertext"), "{}", ran.stdout);
}

#[test]
fn the_tour_with_vault_works() {
    let bao = Bao::start_in_memory();
    with_vault(&bao);
    assert_eq!(bao.root().list("kv"), ["my-first-key"]);
}

/// The README's server with keys in Vault, as it is after its last block.
pub(super) fn with_vault(bao: &Bao) -> Session {
    let mut session = Session::with_vault(bao);
    session.install_kes();
    session.fill("http://127.0.0.1:8200", &bao.url());
    session.fill("0.0.0.0:7373", "127.0.0.1:0");
    for block in Book::read().blocks_below("README.md", "With Vault or OpenBao") {
        match &*block.language {
            "sh" => {
                for ran in session.run(block) {
                    let text = format!("{}{}", ran.stdout, ran.stderr);
                    // But that the shell has the variables of the `vault` commands.
                    let mut warnings = text.lines().filter(|line| {
                        line.contains("arning")
                            && !line.ends_with("not obeyed: VAULT_ADDR, VAULT_TOKEN")
                    });
                    assert_eq!(warnings.next(), None, "{}", ran.command);
                }
            }
            "yaml" => session.write(&block.place(), "config.yml", &block.text),
            language => panic!("{}: '{language}'", block.place()),
        }
    }
    session
}

/// The lines that the dev server prints to be pasted, in groups.
fn groups(printed: &str) -> Vec<Vec<String>> {
    let mut groups = vec![Vec::new()];
    for line in printed.lines().map(str::trim) {
        if line.starts_with("export ") || line.starts_with("kes ") {
            groups.last_mut().unwrap().push(line.to_owned());
        } else if !groups.last().unwrap().is_empty() {
            groups.push(Vec::new());
        }
    }
    groups.retain(|group| !group.is_empty());
    groups
}

fn paste(session: &mut Session, lines: &[String]) {
    for line in lines {
        session.run_line("the dev server's output", line);
    }
}
