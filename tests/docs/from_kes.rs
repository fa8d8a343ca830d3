//! `docs/from-kes.md`, followed on a machine with keys and ciphertexts that the reference made. The
//! reference itself is not there: what a reader asks it was recorded from it.

use std::fs;

use super::Runner;
use super::book::{Book, root};
use super::session::{Session, commands};
use super::systemd;
use crate::harness::Vectors;

/// What stands in the place of the reference's program.
const REFERENCE: &str = "#!/bin/sh\necho the reference\n";

const PROGRAM: &str = "/usr/local/bin/kes";
const UNIT: &str = "/etc/systemd/system/kes.service";

/// A key of the recordings, with a ciphertext that needs no context.
const KEY: &str = "vec-aes256";

const CONFIGURATION: &str = "
version: v1
address: 0.0.0.0:7373
admin:
  identity: disabled
tls:
  key: /etc/kes/server.key
  cert: /etc/kes/server.crt
policy:
  minio:
    allow:
    - /v1/key/create/*
    - /v1/key/generate/*
    - /v1/key/decrypt/*
    - /v1/key/describe/*
    - /v1/key/list/*
    - /v1/status
    identities:
    - ${MINIO_IDENTITY}
keystore:
  fs:
    path: /var/lib/kes
";

#[test]
#[cfg_attr(feature = "fips", ignore = "a FIPS build refuses ChaCha20")]
fn the_exchange_works_and_can_be_undone() {
    let vectors = Vectors::read();
    let mut session = machine_of_the_reference(&vectors);
    let is_plain = |one: &&crate::harness::Ciphertext| {
        one.key == KEY
            && one.form == "current"
            && one.context.is_empty()
            && !one.plaintext.is_empty()
    };
    let recorded = vectors.ciphertexts.iter().find(is_plain).unwrap();
    session.fill("my-key", KEY);
    session.fill("<ciphertext>", &recorded.ciphertext);

    // Whether this server runs, or the reference would.
    let mut is_ours = false;
    for block in Book::read().blocks_of(Runner::FromKes) {
        for (line, command) in commands(&block.text) {
            let place = format!("{}:{}", block.document, block.line + line);
            if command.starts_with("kes ") && !is_ours {
                println!("not run: `{command}` with the reference, which is not here");
                continue;
            }
            let ran = session.run_line(&place, &command);
            if command == "sudo systemctl start kes" {
                is_ours = fs::read_to_string(session.system_file(PROGRAM)).ok().as_deref()
                    != Some(REFERENCE);
                if is_ours {
                    systemd::start(&mut session, &[]);
                    session.run_line("the test", "kes key create made-meanwhile");
                }
            } else if command == "sudo systemctl stop kes" && is_ours {
                session.end_server();
            } else if command == "kes key ls" {
                for key in &vectors.stored_keys {
                    assert!(ran.stdout.contains(&key.name), "{} is not listed", key.name);
                }
            } else if command.starts_with("kes key decrypt") {
                assert!(ran.stdout.contains(&recorded.plaintext), "{}", ran.stdout);
            }
        }
    }

    // The reference is back, with its keys as they were, and one more in its own form.
    assert!(!is_ours);
    assert_eq!(fs::read_to_string(session.system_file(PROGRAM)).unwrap(), REFERENCE);
    let stored = |name: &str| fs::read_to_string(session.system_file("/var/lib/kes").join(name));
    for key in &vectors.stored_keys {
        assert_eq!(stored(&key.name).unwrap(), key.value, "{}", key.name);
    }
    let made = stored("made-meanwhile").unwrap();
    let form = |value: &str| value[..5].to_owned();
    assert_eq!(form(&made), form(&vectors.key(KEY).value));
}

/// A machine on which the reference was installed, with its keys in a folder.
fn machine_of_the_reference(vectors: &Vectors) -> Session {
    let mut session = Session::new();
    session.fill("0.0.0.0:7373", "127.0.0.1:0");
    for line in [
        "\"$KES\" identity new --key server.key --cert server.crt --ip 127.0.0.1",
        "\"$KES\" identity new --key minio.key --cert minio.crt MinIO",
        "mkdir -p /etc/kes /var/lib/kes",
        "chmod 700 /var/lib/kes",
        "cp server.key server.crt /etc/kes/",
        "export KES_CAPATH=server.crt KES_CLIENT_KEY=minio.key KES_CLIENT_CERT=minio.crt",
    ] {
        session.run_line("the test", line);
    }
    let identity = session.run_line("the test", "\"$KES\" identity of minio.crt").stdout;
    session.fill("${MINIO_IDENTITY}", identity.trim());
    session.write_system("the test", "/etc/kes/config.yml", CONFIGURATION);
    session.run_line("the test", "chmod 600 /etc/kes/config.yml /etc/kes/server.key");
    session.write_system("the test", PROGRAM, REFERENCE);
    session.run_line("the test", "chmod 755 /usr/local/bin/kes");
    fs::copy(root().join("systemd/kes.service"), session.system_file(UNIT)).unwrap();
    for key in &vectors.stored_keys {
        let file = session.system_file("/var/lib/kes").join(&key.name);
        fs::write(file, &key.value).unwrap();
    }
    session
}
