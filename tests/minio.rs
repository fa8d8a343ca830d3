//! MinIO itself in front of a server with keys in a real Vault, where `MINIO_BIN` and `MC_BIN`
//! name its binaries when the tests are built and run.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use kes_testkit::{Authority, Bao, Port, Process, wait};
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Config, Server, Who};

/// The key of MinIO's configuration, which SSE-S3 uses, and one that a bucket names.
const DEFAULT_KEY: &str = "minio-default-key";
const BUCKET_KEY: &str = "encrypted-bucket-key";

const USER: &str = "minio-root";
const PASSWORD: &str = "minio-root-password";

/// MinIO starts in seconds, and asks for its default key first.
const START_LIMIT: Duration = Duration::from_secs(60);

/// What MinIO's documentation grants, and `describe`, which it calls every 10 s.
const POLICY: &str = "
  minio:
    allow:
    - /v1/key/create/*
    - /v1/key/describe/*
    - /v1/key/generate/*
    - /v1/key/decrypt/*
    - /v1/key/bulk/decrypt
    - /v1/key/list/*
    - /v1/status
    - /v1/metrics
    - /v1/log/audit
    - /v1/log/error
    identities:
    - ${MINIO}";

#[test]
#[cfg_attr(not(has_minio), ignore = "MINIO_BIN and MC_BIN name no MinIO")]
fn objects_are_read_back_after_both_were_restarted() {
    let binaries = Binaries::of_environment();
    let authority = Authority::new();
    let bao = Bao::start_tls(&authority, false);
    let mut server = Server::with(&config(&bao, &authority));
    for key in [DEFAULT_KEY, BUCKET_KEY] {
        let created = server.command(Who::Minio, &["key", "create", "-k", key]).output().unwrap();
        assert!(created.status.success(), "{created:?}");
    }

    let folder = tempfile::tempdir().unwrap();
    let start = |server: &Server| Minio::start(&binaries, folder.path(), &variables(server));
    let mut minio = start(&server);
    let contents = folder.path().join("contents");
    // More than one part of 16 MiB.
    std::fs::write(&contents, b"an object's contents\n".repeat(1 << 20)).unwrap();
    for (bucket, encryption) in [("kms", &["sse-kms", BUCKET_KEY][..]), ("s3", &["sse-s3"])] {
        let path = format!("test/{bucket}");
        minio.must(&["mb", &path]);
        minio.must(&[&["encrypt", "set"], encryption, &[path.as_str()]].concat());
        for number in 0..2 {
            let object = format!("test/{bucket}/object-{number}");
            minio.must(&["cp", contents.to_str().unwrap(), &object]);
        }
        let stat = minio.must(&["stat", "--json", &format!("test/{bucket}/object-0")]);
        let stat: Value = serde_json::from_slice(&stat.stdout).unwrap();
        let stat = stat.to_string().to_lowercase();
        let parts: &[&str] = if bucket == "kms" { &["aws:kms", BUCKET_KEY] } else { &["aes256"] };
        for part in [&["server-side-encryption"], parts].concat() {
            assert!(stat.contains(part), "'{part}' is not in {stat}");
        }
    }
    // What stands on the disk is not what was written.
    assert!(!holds(&minio.data, b"an object's contents\nan object's contents\n"));
    let status = minio.must(&["admin", "kms", "key", "status", "test", BUCKET_KEY, "--json"]);
    assert!(String::from_utf8(status.stdout).unwrap().contains(BUCKET_KEY));
    let listed = minio.must(&["admin", "kms", "key", "list", "test"]);
    assert!(String::from_utf8(listed.stdout).unwrap().contains(BUCKET_KEY));

    minio.stop();
    server.restart();
    let minio = start(&server);
    let expected = std::fs::read(&contents).unwrap();
    for bucket in ["kms", "s3"] {
        for number in 0..2 {
            let read = minio.must(&["cat", &format!("test/{bucket}/object-{number}")]);
            assert!(read.stdout == expected, "{bucket}/object-{number} is another");
        }
        minio.must(&["cp", contents.to_str().unwrap(), &format!("test/{bucket}/later")]);
    }
}

/// MinIO's variables for a server.
fn variables(server: &Server) -> Vec<(&'static str, String)> {
    let file = |name: &str| server.file(name).to_str().unwrap().to_owned();
    vec![
        ("MINIO_KMS_KES_ENDPOINT", format!("https://{}", server.address)),
        ("MINIO_KMS_KES_KEY_FILE", file("minio.key")),
        ("MINIO_KMS_KES_CERT_FILE", file("minio.crt")),
        ("MINIO_KMS_KES_CAPATH", file("server.crt")),
        ("MINIO_KMS_KES_KEY_NAME", DEFAULT_KEY.to_owned()),
    ]
}

fn config(bao: &Bao, authority: &Authority) -> Config {
    let role = bao.root().set_up().kv("kv", 1).app_role();
    let keystore = format!(
        r#"
  vault:
    endpoint: {}
    engine: kv/
    version: v1
    approle: {{ id: "{}", secret: "{}" }}
    tls: {{ ca: "{}" }}"#,
        bao.url(),
        role.role_id,
        role.secret_id,
        authority.certificate().display()
    );
    Config::usual()
        .with("admin", "{ identity: disabled }")
        .with("policy", POLICY)
        .with("keystore", &keystore)
}

/// The binaries that the environment names.
pub(crate) struct Binaries {
    minio: OsString,
    mc: OsString,
}

impl Binaries {
    pub(crate) fn of_environment() -> Self {
        let set = |name: &str| {
            let value = std::env::var_os(name).filter(|value| !value.is_empty());
            value.unwrap_or_else(|| panic!("{name} has to name a binary for this test"))
        };
        Self { minio: set("MINIO_BIN"), mc: set("MC_BIN") }
    }
}

/// A running MinIO, and `mc` with the alias `test` for it.
pub(crate) struct Minio {
    process: Process,
    mc: OsString,
    folder: PathBuf,
    data: PathBuf,
    ports: [Port; 2],
}

impl Minio {
    /// Starts MinIO with its variables for a key server, and with its data in a folder.
    pub(crate) fn start(binaries: &Binaries, folder: &Path, variables: &[(&str, String)]) -> Self {
        // A port that was free may be taken before MinIO binds it.
        (0..5)
            .find_map(|_| Self::try_start(binaries, folder, variables))
            .unwrap_or_else(|| panic!("MinIO does not start: {}", log_in(folder)))
    }

    fn try_start(binaries: &Binaries, folder: &Path, variables: &[(&str, String)]) -> Option<Self> {
        let data = folder.join("data");
        std::fs::create_dir_all(&data).unwrap();
        let ports = [Port::free(), Port::free()];
        let [address, console] = ports.each_ref().map(|port| port.address().to_string());
        let log = || {
            let mut options = std::fs::File::options();
            options.create(true).append(true).open(folder.join("minio.log")).unwrap()
        };
        let mut command = Process::command(Path::new(&binaries.minio));
        command
            .arg("server")
            .args(["--address", &address])
            .args(["--console-address", &console])
            .arg("--certs-dir")
            .arg(folder.join("certs"))
            .arg(&data)
            .env("HOME", folder)
            .env("MINIO_ROOT_USER", USER)
            .env("MINIO_ROOT_PASSWORD", PASSWORD)
            .env("MINIO_BROWSER", "off")
            .env("MINIO_UPDATE", "off")
            // A test's folder may be on the system's disk.
            .env("MINIO_CI_CD", "1")
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .env_remove("MINIO_KMS_KES_API_KEY")
            .env_remove("MINIO_KMS_SECRET_KEY")
            .stdin(Stdio::null())
            .stdout(log())
            .stderr(log());
        let process = Process::start(command);
        let mc = binaries.mc.clone();
        let mut minio = Self { process, mc, folder: folder.to_owned(), data, ports };
        minio.becomes_ready().then_some(minio)
    }

    /// Waits until it takes requests; `false` if it ended instead.
    fn becomes_ready(&mut self) -> bool {
        let url = format!("http://{}", self.ports[0].address());
        wait::eventually(START_LIMIT, "MinIO takes requests", || {
            if !self.process.is_running() {
                return true;
            }
            let alias = self.mc(&["alias", "set", "test", &url, USER, PASSWORD]);
            alias.status.success() && self.mc(&["ls", "test"]).status.success()
        });
        self.process.is_running()
    }

    fn mc(&self, args: &[&str]) -> Output {
        Command::new(&self.mc)
            .arg("--config-dir")
            .arg(self.folder.join("mc"))
            .args(args)
            .env("HOME", &self.folder)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("MC_BIN: {error}"))
    }

    /// A command line that starts `mc` with the alias `test`.
    pub(crate) fn mc_line(&self) -> String {
        let mc = Path::new(&self.mc).display();
        format!("'{mc}' --config-dir '{}'", self.folder.join("mc").display())
    }

    /// A command that has to succeed.
    fn must(&self, args: &[&str]) -> Output {
        let output = self.mc(args);
        assert!(
            output.status.success(),
            "mc {args:?}: {}{}; {}",
            String::from_utf8_lossy(&output.stdout[..output.stdout.len().min(2000)]),
            String::from_utf8_lossy(&output.stderr),
            self.log()
        );
        output
    }

    fn stop(&mut self) {
        self.process.signal(Signal::TERM);
        wait::eventually(START_LIMIT, "MinIO stops", || !self.process.is_running());
    }

    fn log(&self) -> String {
        log_in(&self.folder)
    }
}

fn log_in(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("minio.log")).unwrap_or_default()
}

/// Whether a file in a folder holds these bytes near its start.
fn holds(folder: &Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, bytes);
        }
        // A file of MinIO begins with its own data, or with the object's.
        let mut start = vec![0; 64 << 10];
        let length = std::fs::File::open(&path).unwrap().read(&mut start).unwrap();
        start[..length].windows(bytes.len()).any(|part| part == bytes)
    })
}
