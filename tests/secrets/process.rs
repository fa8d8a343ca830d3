//! What the system shows of the process, and what stays in its memory.

use std::fs::File;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::process::{Command, Stdio};

use kes_testkit::{Process, install, wait};
use serde_json::json;

use super::{Mark, PATIENCE, assert_silent};
use crate::harness::{self, Client, Config, Protocol, Raw, Server, Who};

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

/// Also where the shell that starts the server allows core files.
#[test]
fn no_core_is_dumped() {
    let allowed = ["bash", "-c", "ulimit -S -c hard && exec \"$@\"", "bash"];
    let mut server = Server::with(&Config::usual().under(&allowed));
    let id = server.process().id();
    let limits = std::fs::read_to_string(format!("/proc/{id}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let numbers: Vec<&str> = core.split_whitespace().filter(|word| *word == "0").collect();
    assert_eq!(numbers.len(), 2, "{core}");

    server.signal(rustix::process::Signal::ABORT);
    let ended = server.wait_for_exit(PATIENCE);
    assert!(!std::os::unix::process::ExitStatusExt::core_dumped(&ended), "{ended:?}");
    for entry in std::fs::read_dir(server.folder()).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(!name.to_string_lossy().starts_with("core"), "{name:?}");
    }
}

#[test]
fn others_of_the_same_user_cannot_look_into_the_process() {
    let folder = Folder::new();
    let mut command = folder.command();
    let out = folder.0.path().join("out");
    command
        .args(["server", "--dev", "--addr", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(File::create(&out).unwrap())
        .stderr(Stdio::null());
    let mut process = Process::start(command);
    wait::eventually(PATIENCE, "the server listens", || {
        assert!(process.is_running(), "the server ended");
        std::fs::read_to_string(&out).unwrap().contains("https://")
    });
    assert!(is_guarded(&process));
    // Whoever may look at it may attach to it, and the reverse (ptrace(2)).
    let seen = |id: u32, file: &str| {
        folder.as_the_user("head").args(["-c1", &format!("/proc/{id}/{file}")]).output().unwrap()
    };
    let mut sleeper = folder.as_the_user("sleep");
    sleeper.arg("1000");
    let sleeper = Process::start(sleeper);
    for file in ["maps", "environ"] {
        // Else the refusal would prove nothing.
        wait::eventually(PATIENCE, "the user looks into another process of its own", || {
            seen(sleeper.id(), file).status.success()
        });
        let refused = seen(process.id(), file);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && said.contains("Permission denied"), "{file}: {said}");
    }
}

/// Commands have API keys, private keys and plaintexts in memory.
#[test]
fn nor_into_a_command_that_asks_a_server() {
    // It accepts connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let folder = Folder::new();
    for args in [
        "log",
        "log --error",
        "key dek k",
        "key create k",
        "key import k -",
        "key decrypt k AAAA",
        "key ls",
        "policy show minio",
        "identity info",
        "identity of -",
        "ls",
        "status",
        "metric",
    ] {
        let mut command = folder.command();
        command
            .args(args.split(' '))
            .env("KES_SERVER", &address)
            .env("KES_API_KEY", "kes:v1:ABFH5GCLy7NnPiYT4bJK5RZdCWbTuNHOCGQsZfoBPSqT")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut process = Process::start(command);
        wait::eventually(PATIENCE, &format!("kes {args} guards its memory"), || {
            assert!(process.is_running(), "kes {args} ended");
            is_guarded(&process)
        });
    }
}

/// A folder with the program, for a user to whom something would show.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        install(&harness::program(), &folder.path().join("kes"));
        let temporary = folder.path().join("tmp");
        std::fs::create_dir(&temporary).unwrap();
        std::fs::set_permissions(&temporary, PermissionsExt::from_mode(0o777)).unwrap();
        Self(folder)
    }

    /// The program as somebody else than root, for whom nothing would show.
    fn command(&self) -> Command {
        self.as_the_user(self.0.path().join("kes"))
    }

    /// Another program as the same user.
    fn as_the_user(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = if rustix::process::getuid().is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir("/");
        command.env_remove("XDG_RUNTIME_DIR").env("TMPDIR", self.0.path().join("tmp"));
        command
    }
}

/// Whether a process of somebody else than root writes no core file and shows its memory to nobody
/// of the same user. One that is dumpable has its files in `/proc` owned by its user; one that is
/// not has them owned by root, so that a debugger of the same user is refused.
fn is_guarded(process: &Process) -> bool {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", process.id()));
    let (status, limits) = (read("status").unwrap(), read("limits").unwrap());
    let user = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
    let is_root = user.split_whitespace().any(|user| user == "0");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let is_dumped = core.split_whitespace().filter(|word| *word == "0").count() != 2;
    let is_owned_by_root = |file: &&str| {
        std::fs::metadata(format!("/proc/{}/{file}", process.id())).unwrap().uid() == 0
    };
    !is_root && !is_dumped && ["mem", "maps", "environ"].iter().all(is_owned_by_root)
}

/// Imports a key `k` and uses it for what keys are used for.
pub(super) async fn import_and_use(client: &mut Client) -> Mark {
    let key = Mark::random("the key", 32);
    let import = json!({ "key": key.base64(), "cipher": "AES256" }).to_string();
    assert_eq!(client.send("PUT", "/v1/key/import/k", &import).await.status, 200);
    for _ in 0..50 {
        let answer = client.send("PUT", "/v1/key/generate/k", "").await.json();
        let body = json!({ "ciphertext": answer["ciphertext"] }).to_string();
        assert_eq!(client.send("PUT", "/v1/key/decrypt/k", &body).await.status, 200);
        assert_eq!(client.send("PUT", "/v1/key/hmac/k", "{}").await.status, 200);
    }
    key
}

#[test]
fn a_deleted_key_leaves_memory() {
    harness::run(async {
        for protocol in [Protocol::H1, Protocol::H2] {
            let (server, memory) = Server::observed(&Config::usual());
            let mut client = server.client(Who::Admin, protocol).await;
            let key = import_and_use(&mut client).await;
            let [_, hmac_key] = crate::keys_at_rest::secrets(&server, "k");
            let holds = || memory.holds(&[&key.bytes, &hmac_key]);
            // Else the search would prove nothing.
            assert_eq!(holds(), [true, true], "a key in use is in memory");
            assert_eq!(client.send("DELETE", "/v1/key/delete/k", "").await.status, 200);
            wait::eventually(PATIENCE, "the key and its HMAC key leave memory", || {
                holds() == [false, false]
            });
        }
    });
}

/// A request passes through buffers of TLS, HTTP and JSON, which their libraries do not wipe.
#[test]
fn a_request_leaves_its_text_in_no_buffer() {
    harness::run(async {
        for protocol in [Protocol::H1, Protocol::H2] {
            let (server, memory) = Server::observed(&Config::usual());
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
            // A text that the server keeps, so that the search is known to find one.
            let kept = server.admin.identity.as_bytes();
            let mut wanted: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
            wanted.push(kept);
            wait::eventually(PATIENCE, "no buffer holds a key", || {
                let found = memory.holds(&wanted);
                assert!(found[8], "the search finds nothing");
                !found[..8].contains(&true)
            });
        }
    });
}

/// The search finds what a request brings, while it lasts.
#[test]
fn a_request_under_way_is_found_in_memory() {
    harness::run(async {
        let (server, memory) = Server::observed(&Config::usual());
        let text = Mark::random("a plaintext", 32).base64();
        let mut raw = Raw::connect(&server, Who::Admin).await;
        let head = "PUT /v1/key/encrypt/k HTTP/1.1\r\nhost: kes\r\ncontent-length: 100\r\n\r\n";
        raw.write(format!("{head}{{\"plaintext\":\"{text}\"")).await;
        wait::eventually(PATIENCE, "the request is in memory", || {
            memory.holds(&[text.as_bytes()]) == [true]
        });
        drop(raw);
        wait::eventually(PATIENCE, "it leaves memory with its connection", || {
            memory.holds(&[text.as_bytes()]) == [false]
        });
    });
}
