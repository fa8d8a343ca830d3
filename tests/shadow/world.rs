//! Two servers, and the shadow in front of them.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use kes_testkit::Process;
use kes_testkit::wait::eventually;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Client, Config, Credentials, Protocol, Server, Who, program};

/// How long something may take before a test fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// An old and a new server, with the same clients.
pub(super) struct Servers {
    pub(super) old: Server,
    pub(super) new: Server,
}

/// A shadow that runs.
pub(super) struct Running {
    pub(super) address: String,
    process: Process,
    folder: TempDir,
    /// Whether it prints summaries all the time.
    is_summing: bool,
}

impl Servers {
    /// Both with the same configuration, of which `${MINIO}` and the like are the same as well, and
    /// with the keys `names`.
    pub(super) async fn with_keys(names: &[&str]) -> Self {
        Self::new(|config, _| config, names, |_| {}).await
    }

    /// The same, with another configuration of the new server, made of that of the old one and of
    /// its clients, and something changed in its folder of keys.
    pub(super) async fn new(
        change: impl FnOnce(Config, &Server) -> Config,
        names: &[&str],
        change_keys: impl FnOnce(&Path),
    ) -> Self {
        let old = Server::with(&config());
        let mut admin = old.client(Who::Admin, Protocol::H1).await;
        for name in names {
            let created = admin.send("PUT", &format!("/v1/key/create/{name}"), "").await;
            assert_eq!(created.status, 200);
        }
        let same = config()
            .with("admin", &format!("{{ identity: \"{}\" }}", old.admin.identity))
            .with("policy", &policy(&old.minio.identity))
            .with("tls", &tls(&old.other.identity));
        let new = Server::prepared(&change(same, &old), |folder| {
            let keys = folder.join("keys");
            fs::create_dir(&keys).unwrap();
            for name in names {
                fs::copy(old.file("keys").join(name), keys.join(name)).unwrap();
            }
            change_keys(&keys);
        });
        Self { old, new }
    }

    /// A shadow in front of them. The credential of its environment is that of `who`.
    pub(super) fn shadow(&self, who: Who, args: &[&str]) -> Running {
        Running::start(&self.old, &self.old.address, &self.new, who, args)
    }

    /// A client of the shadow.
    pub(super) async fn client(&self, shadow: &Running, who: Who, protocol: Protocol) -> Client {
        shadow.client(&self.old.tls, self.old.credentials(who), protocol).await
    }
}

/// The usual configuration, with the policies of these tests.
pub(super) fn config() -> Config {
    Config::usual().with("policy", &policy("${MINIO}")).with("tls", &tls("${OTHER}"))
}

/// What MinIO needs and what the tests ask beside that.
pub(super) fn policy(minio: &str) -> String {
    format!(
        "\n  minio:\n    allow: [/v1/key/create/*, /v1/key/generate/*, /v1/key/decrypt/*, \
         /v1/key/encrypt/*, /v1/key/describe/*, /v1/key/list/*, /v1/status, /v1/log/audit]\n    \
         deny: [/v1/key/decrypt/secret-*]\n    identities: [\"{minio}\"]"
    )
}

fn tls(proxy: &str) -> String {
    format!("{{ key: server.key, cert: server.crt, proxy: {{ identities: [\"{proxy}\"] }} }}")
}

impl Running {
    /// Starts one in front of the server at an address, with the certificate and the clients of
    /// `old`, and a new server.
    pub(super) fn start(
        old: &Server,
        address: &str,
        new: &Server,
        who: Who,
        args: &[&str],
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let trusted = format!("{}{}", old.tls.certificate_pem, new.tls.certificate_pem);
        fs::write(folder.path().join("trusted.crt"), trusted).unwrap();
        let output = |name: &str| Stdio::from(File::create(folder.path().join(name)).unwrap());
        let mut command = Process::command(&program());
        command
            .args(["shadow", "--addr", "127.0.0.1:0", "--key", "server.key", "--cert"])
            .args(["server.crt", "--to", address, "--new", &new.address])
            .args(args)
            .args((!args.contains(&"--summary")).then_some(["--summary", "300ms"]).iter().flatten())
            .current_dir(old.folder())
            .env("KES_CAPATH", folder.path().join("trusted.crt"))
            .stdin(Stdio::null())
            .stdout(output("stdout"))
            .stderr(output("stderr"));
        if old.credentials(who).is_some() {
            let name = format!("{who:?}").to_lowercase();
            command.env("KES_CLIENT_KEY", format!("{name}.key"));
            command.env("KES_CLIENT_CERT", format!("{name}.crt"));
        }
        let process = Process::start(command);
        let is_summing = !args.contains(&"--summary");
        let mut running = Self { address: String::new(), process, folder, is_summing };
        eventually(PATIENCE, "the shadow listens", || {
            let ended = !running.process.is_running();
            assert!(!ended, "{}", running.stderr());
            let start = running.lines().into_iter().find(|line| line["event"] == "start");
            let listens = start.as_ref().and_then(|start| start["listens"][0].as_str());
            running.address = listens.unwrap_or_default().trim_start_matches("https://").to_owned();
            !running.address.is_empty()
        });
        running
    }

    /// A client of it.
    pub(super) async fn client(
        &self,
        tls: &Credentials,
        who: Option<&Credentials>,
        protocol: Protocol,
    ) -> Client {
        Client::connect(&self.address, &tls.certificate, who, protocol).await.unwrap()
    }

    pub(super) fn process(&self) -> &Process {
        &self.process
    }

    /// All that it has printed.
    pub(super) fn stdout(&self) -> String {
        fs::read_to_string(self.folder.path().join("stdout")).unwrap()
    }

    pub(super) fn stderr(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).unwrap()
    }

    /// The whole lines that it has printed.
    pub(super) fn lines(&self) -> Vec<Value> {
        let text = self.stdout();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The differences that it has told.
    pub(super) fn differences(&self) -> Vec<Value> {
        let mut lines = self.lines();
        lines.retain(|line| line["event"] == "difference");
        lines
    }

    /// Waits for a line.
    pub(super) fn wait_for(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let mut found = None;
        eventually(PATIENCE, what, || {
            found = self.lines().into_iter().find(&is_it);
            found.is_some()
        });
        found.unwrap()
    }

    /// Waits until nothing is left to be compared.
    fn wait_until_compared(&self) {
        let summaries = || {
            let mut lines = self.lines();
            lines.retain(|line| line["event"] == "summary");
            lines
        };
        let before = summaries().len();
        eventually(PATIENCE, "all requests are compared", || {
            let all = summaries();
            // One that was begun before may lack the last requests.
            all.len() > before + 1 && all.last().is_some_and(is_complete)
        });
    }

    /// Ends it when all is compared, and returns its last summary.
    pub(super) fn end(&mut self) -> Value {
        if self.is_summing {
            self.wait_until_compared();
        }
        self.process.signal(Signal::TERM);
        let mut status = None;
        eventually(PATIENCE, "the shadow ends", || {
            status = self.process.exit_status();
            status.is_some()
        });
        assert_eq!(status.unwrap().code(), Some(0), "{}", self.stderr());
        let summary = self.lines().pop().unwrap();
        assert_eq!(summary["event"], "summary");
        summary
    }
}

/// Whether a summary says of each request what became of it.
fn is_complete(summary: &Value) -> bool {
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let sum = |value: &Value| -> u64 {
        value.as_object().into_iter().flat_map(|counts| counts.values()).map(number).sum()
    };
    summary["operations"].as_object().unwrap().values().all(|tally| {
        let told = number(&tally["equal"]) + number(&tally["different"]);
        number(&tally["requests"]) == told + sum(&tally["known"]) + sum(&tally["not_compared"])
    })
}
