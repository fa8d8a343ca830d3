//! What the system shows of the process, and what stays in its memory.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt};
use std::process::{Command, Stdio};
use std::time::Duration;

use kes_testkit::{Process, wait};
use serde_json::json;

use super::{Mark, PATIENCE, assert_silent, find};
use crate::harness::{self, Config, Protocol, Server, Who};

#[test]
fn the_command_line_and_the_environment_hold_no_secret() {
    let [secret, password] = ["the secret ID", "the password"].map(Mark::text);
    let keystore = format!(
        "{{ vault: {{ endpoint: \"https://127.0.0.1:1\", approle: {{ id: a, secret: {} }} }} }}",
        secret.as_str()
    );
    let tls = format!("{{ key: server.key, cert: server.crt, password: {} }}", password.as_str());
    let mut server = Server::with(&Config::usual().with("keystore", &keystore).with("tls", &tls));
    let id = server.process().id();
    for file in ["cmdline", "environ", "comm", "status"] {
        match std::fs::read(format!("/proc/{id}/{file}")) {
            Ok(text) => {
                assert!(!text.is_empty(), "{file}");
                assert_silent(file, &text, &[secret.clone(), password.clone()]);
            }
            // Nobody but root may look at a process that is not dumpable.
            Err(error) => assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{file}"),
        }
    }
}

#[test]
fn no_core_is_dumped() {
    let mut server = Server::start();
    let id = server.process().id();
    let limits = std::fs::read_to_string(format!("/proc/{id}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let numbers: Vec<&str> = core.split_whitespace().filter(|word| *word == "0").collect();
    assert_eq!(numbers.len(), 2, "{core}");

    server.signal(rustix::process::Signal::ABORT);
    wait::eventually(PATIENCE, "the server ends", || !server.process().is_running());
    let ended = server.process().exit_status().unwrap();
    assert!(!std::os::unix::process::ExitStatusExt::core_dumped(&ended), "{ended:?}");
    for entry in std::fs::read_dir(server.folder()).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(!name.to_string_lossy().starts_with("core"), "{name:?}");
    }
}

/// A process that is dumpable has its files in `/proc` owned by its user; one that is not has
/// them owned by root, so that a debugger of the same user is refused.
#[test]
fn others_of_the_same_user_cannot_look_into_the_process() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let binary = folder.path().join("kes");
    std::fs::copy(harness::program(), &binary).unwrap();
    // Somebody else than root, for whom nothing would show.
    let mut command = if rustix::process::getuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&binary);
        command
    } else {
        Command::new(&binary)
    };
    let out = folder.path().join("out");
    command
        .args(["server", "--dev", "--addr", "127.0.0.1:0"])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(File::create(&out).unwrap())
        .stderr(Stdio::null());
    let mut process = Process::start(command);
    wait::eventually(PATIENCE, "the server listens", || {
        assert!(process.is_running(), "the server ended");
        std::fs::read_to_string(&out).unwrap().contains("https://")
    });
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let user = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
    assert!(!user.split_whitespace().any(|user| user == "0"), "{user}");
    for file in ["mem", "maps", "environ"] {
        let owner = std::fs::metadata(format!("/proc/{}/{file}", process.id())).unwrap().uid();
        assert_eq!(owner, 0, "{file} is its user's");
    }
}

/// Whether bytes stand anywhere in what a process may write to.
fn stands_in_memory(id: u32, bytes: &[u8]) -> io::Result<bool> {
    const PIECE: usize = 1 << 20;
    let maps = std::fs::read_to_string(format!("/proc/{id}/maps"))?;
    let memory = File::open(format!("/proc/{id}/mem"))?;
    let mut piece = vec![0; PIECE + bytes.len()];
    let mut read_any = false;
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next().unwrap(), words.next().unwrap());
        if !rights.starts_with("rw") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
        let mut at = start;
        while at < end {
            let length = piece.len().min(usize::try_from(end - at).unwrap());
            // What is mapped and was never touched may not be readable.
            if memory.read_exact_at(&mut piece[..length], at).is_ok() {
                read_any = true;
                if find(&piece[..length], bytes) {
                    return Ok(true);
                }
            }
            at += PIECE as u64;
        }
    }
    if read_any { Ok(false) } else { Err(ErrorKind::PermissionDenied.into()) }
}

#[test]
fn a_deleted_key_leaves_memory() {
    harness::run(async {
        for protocol in [Protocol::H1, Protocol::H2] {
            let mut server = Server::start();
            let mut client = server.client(Who::Admin, protocol).await;
            let key = Mark::random("the key", 32);
            let import = json!({ "key": key.base64(), "cipher": "AES256" }).to_string();
            assert_eq!(client.send("PUT", "/v1/key/import/k", &import).await.status, 200);
            for _ in 0..50 {
                let answer = client.send("PUT", "/v1/key/generate/k", "").await.json();
                let body = json!({ "ciphertext": answer["ciphertext"] }).to_string();
                assert_eq!(client.send("PUT", "/v1/key/decrypt/k", &body).await.status, 200);
                assert_eq!(client.send("PUT", "/v1/key/hmac/k", "{}").await.status, 200);
            }
            let [_, hmac_key] = crate::keys_at_rest::secrets(&server, "k");
            let id = server.process().id();
            match stands_in_memory(id, &key.bytes) {
                // Else the search would prove nothing.
                Ok(found) => assert!(found, "a key in use is in memory"),
                // The other half of the promise: nobody may look.
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
                    continue;
                }
            }
            assert_eq!(client.send("DELETE", "/v1/key/delete/k", "").await.status, 200);
            tokio::time::sleep(Duration::from_secs(2)).await;
            for (what, bytes) in [("the key", &key.bytes), ("its HMAC key", &hmac_key)] {
                assert!(!stands_in_memory(id, bytes).unwrap(), "{what} is still in memory");
            }
        }
    });
}

/// A request passes through buffers of TLS, HTTP and JSON, which their libraries do not wipe.
#[test]
fn a_request_leaves_its_text_in_no_buffer() {
    harness::run(async {
        for protocol in [Protocol::H1, Protocol::H2] {
            let mut server = Server::start();
            let id = server.process().id();
            let mut texts = Vec::new();
            // Each is the last request of its connection: nothing writes over its buffers.
            for n in 0..8 {
                let key = Mark::random("the key", 32);
                let import = json!({ "key": key.base64(), "cipher": "AES256" }).to_string();
                let mut client = server.client(Who::Admin, protocol).await;
                let path = format!("/v1/key/import/k{n}");
                assert_eq!(client.send("PUT", &path, &import).await.status, 200);
                texts.push(key.base64());
            }
            let clean = || {
                texts.iter().try_fold(true, |clean, text| {
                    Ok::<_, io::Error>(clean && !stands_in_memory(id, text.as_bytes())?)
                })
            };
            match clean() {
                Ok(_) => {
                    wait::eventually(PATIENCE, "no buffer holds a key", || clean().unwrap());
                }
                // The other half of the promise: nobody may look.
                Err(error) => assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}"),
            }
        }
    });
}
