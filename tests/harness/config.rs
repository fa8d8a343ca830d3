//! How a server is configured and started.

use std::os::fd::OwnedFd;
use std::sync::Arc;

/// The policy of the contract's recorded runs.
const MINIO: &str = "
  minio:
    allow: [/v1/key/create/*, /v1/key/generate/*, /v1/key/decrypt/*, /v1/key/bulk/decrypt, /v1/key/list/*, /v1/status, /v1/metrics, /v1/log/audit, /v1/log/error]
    deny: [/v1/key/decrypt/secret-*]
    identities: [\"${MINIO}\"]";

/// A configuration file: the usual one, with sections replaced or added.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    sections: Vec<(String, String)>,
    pub(super) launch: Launch,
}

/// How the program is started.
#[derive(Clone, Debug, Default)]
pub(super) struct Launch {
    /// A command that runs the program.
    pub(super) under: Vec<String>,
    /// Further arguments.
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    /// Passed as systemd does (sd_listen_fds(3)); up to two.
    pub(super) sockets: Vec<Arc<OwnedFd>>,
}

/// Passes standard input and output on as the files 3 and 4, as many as `$1` says.
pub(super) const PASS: &str = "exec 3<&0 </dev/null; if [ $1 = 2 ]; then exec 4<&1; fi
exec >>stdout; export LISTEN_FDS=$1 LISTEN_PID=${LISTEN_PID:-$$}; shift; exec \"$@\"";

impl Config {
    /// Keys in a folder, one admin, and the policy `minio`. `${ADMIN}`, `${MINIO}` and
    /// `${OTHER}` stand for the identities of the server's credentials.
    pub(crate) fn usual() -> Self {
        let mut config = Self { sections: Vec::new(), launch: Launch::default() };
        config.set("address", "127.0.0.1:0");
        config.set("admin", "{ identity: \"${ADMIN}\" }");
        config.set("tls", "{ key: server.key, cert: server.crt }");
        config.set("policy", MINIO);
        config.set("keystore", "{ fs: { path: keys } }");
        config
    }

    /// Sets a top-level section to a text: flow style, or a block that starts on the next line.
    pub(crate) fn set(&mut self, section: &str, text: &str) -> &mut Self {
        self.sections.retain(|(name, _)| name != section);
        self.sections.push((section.to_owned(), text.to_owned()));
        self
    }

    /// The same, for chaining on a value.
    pub(crate) fn with(mut self, section: &str, text: &str) -> Self {
        self.set(section, text);
        self
    }

    /// Sets an environment variable of the server.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.launch.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Passes a further argument to the server.
    pub(crate) fn arg(mut self, arg: &str) -> Self {
        self.launch.args.push(arg.to_owned());
        self
    }

    /// Has another command run the server, in its own process.
    pub(crate) fn under(mut self, command: &[&str]) -> Self {
        self.launch.under.extend(command.iter().map(|word| (*word).to_owned()));
        self
    }

    /// Passes a socket to the server, as systemd does. It stays with this value as well.
    pub(crate) fn passing(mut self, socket: impl Into<OwnedFd>) -> Self {
        self.launch.sockets.push(Arc::new(socket.into()));
        assert!(self.launch.sockets.len() <= 2, "a shell passes up to two");
        self
    }

    /// The text of the file.
    pub(crate) fn text(&self) -> String {
        self.sections.iter().map(|(name, text)| format!("{name}: {text}\n")).collect()
    }
}
