use std::io::Write as _;
use std::ops::Deref;
use std::process::{Command, Stdio};

use super::Server;

/// A folder of keys and certificates that the real `openssl` makes, and clients that use them.
#[derive(Debug)]
pub(crate) struct Openssl(kes_testkit::Openssl);

/// Versions of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    V1_2,
    V1_3,
}

/// What `curl` got.
#[derive(Debug)]
pub(crate) struct Curl {
    /// 0 if no answer came.
    pub(crate) status: u16,
    pub(crate) body: String,
    /// `1.1` or `2`.
    pub(crate) http: String,
    /// What it says on standard error.
    pub(crate) error: String,
}

impl Tls {
    pub(crate) const ALL: [Self; 2] = [Self::V1_2, Self::V1_3];

    /// The same as rustls has it.
    pub(crate) fn version(self) -> &'static rustls::SupportedProtocolVersion {
        match self {
            Self::V1_2 => &rustls::version::TLS12,
            Self::V1_3 => &rustls::version::TLS13,
        }
    }
}

impl Deref for Openssl {
    type Target = kes_testkit::Openssl;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Openssl {
    /// An empty folder.
    pub(crate) fn new() -> Self {
        Self(kes_testkit::Openssl::new())
    }

    /// Asks a server with `curl`. `certificate` and `key` are files of the folder; `extra` are
    /// further arguments.
    pub(crate) fn curl(
        &self,
        server: &Server,
        path: &str,
        client: Option<(&str, &str)>,
        tls: Tls,
        extra: &[&str],
    ) -> Curl {
        let mut command = Command::new("curl");
        command
            .current_dir(self.folder())
            .args(["--silent", "--show-error", "--max-time", "20", "--cacert"])
            .arg(server.file("server.crt"))
            .args(["--write-out", "\n%{http_code} %{http_version}"])
            // Old kinds of keys are for the server to judge, not for the client's own caution.
            .args(["--ciphers", "DEFAULT@SECLEVEL=0"])
            .args(match tls {
                Tls::V1_2 => ["--tlsv1.2", "--tls-max", "1.2"],
                Tls::V1_3 => ["--tlsv1.3", "--tls-max", "1.3"],
            });
        if let Some((certificate, key)) = client {
            command.args(["--cert", certificate, "--key", key]);
        }
        command.args(extra).arg(format!("https://{}{path}", server.address));
        let output = command.output().expect("the tests need curl");
        let printed = String::from_utf8(output.stdout).unwrap();
        let (body, figures) = printed.rsplit_once('\n').unwrap();
        let (status, http) = figures.split_once(' ').unwrap();
        Curl {
            status: status.parse().unwrap(),
            body: body.trim_end().to_owned(),
            http: http.to_owned(),
            error: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Sends a request with `openssl s_client` and returns all that it prints.
    pub(crate) fn s_client(&self, server: &Server, path: &str, args: &str) -> String {
        let mut child = Command::new("openssl")
            .current_dir(self.folder())
            .args(["s_client", "-connect", &server.address, "-ign_eof", "-CAfile"])
            .arg(server.file("server.crt"))
            .args(args.split_whitespace())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the tests need openssl");
        let request = format!("GET {path} HTTP/1.1\r\nhost: kes\r\nconnection: close\r\n\r\n");
        // A refused handshake may have ended it already.
        let _ = child.stdin.take().unwrap().write_all(request.as_bytes());
        let output = child.wait_with_output().unwrap();
        format!(
            "{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    }
}
