use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::Server;

/// A folder of keys and certificates that the real `openssl` makes: nothing of ours has a part
/// in them.
#[derive(Debug)]
pub(crate) struct Openssl {
    folder: tempfile::TempDir,
}

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

impl Openssl {
    /// An empty folder.
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A file in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What a file of the folder holds.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Runs `openssl` in the folder with arguments that are separated by spaces.
    pub(crate) fn run(&self, args: &str) -> Vec<u8> {
        openssl(self.folder.path(), args)
    }

    /// Makes `<name>.key`: `ed25519`, `P-256` and the like, or the bits of an RSA key.
    pub(crate) fn key(&self, name: &str, kind: &str) {
        match kind.parse::<u16>() {
            Ok(8192) => self.write(&format!("{name}.key"), include_str!("../data/rsa-8192.pem")),
            Ok(bits) => {
                self.run(&format!("genrsa -out {name}.key {bits}"));
            }
            Err(_) if kind == "ed25519" => {
                self.run(&format!("genpkey -algorithm ed25519 -out {name}.key"));
            }
            Err(_) => {
                let curve = format!("-pkeyopt ec_paramgen_curve:{kind}");
                self.run(&format!("genpkey -algorithm ec {curve} -out {name}.key"));
            }
        }
    }

    /// Makes `<name>.crt`, self-signed with `<name>.key`. `extra` are arguments of `openssl req`.
    pub(crate) fn certificate(&self, name: &str, extra: &str) {
        let subject = format!("-subj /CN={name} -days 30");
        self.run(&format!("req -x509 -key {name}.key -out {name}.crt {subject} {extra}"));
    }

    /// A key and a self-signed certificate that is no CA's.
    pub(crate) fn leaf(&self, name: &str, kind: &str) {
        self.key(name, kind);
        self.certificate(name, "-addext basicConstraints=critical,CA:FALSE");
    }

    /// Makes a P-256 key and a certificate that `ca` issues, with a file of extensions.
    pub(crate) fn issue(&self, ca: &str, name: &str, days: i32, extensions: &str) {
        self.key(name, "P-256");
        self.write(&format!("{name}.ext"), extensions);
        self.run(&format!("req -new -key {name}.key -subj /CN={name} -out {name}.csr"));
        self.run(&format!(
            "x509 -req -in {name}.csr -CA {ca}.crt -CAkey {ca}.key -CAcreateserial -days {days} \
             -extfile {name}.ext -out {name}.crt"
        ));
    }

    /// The identity of a certificate: SHA-256 over its DER SubjectPublicKeyInfo.
    pub(crate) fn identity(&self, certificate: &str) -> String {
        let pem = self.run(&format!("x509 -in {certificate} -noout -pubkey"));
        fs::write(self.path("public.pem"), pem).unwrap();
        self.run("pkey -pubin -in public.pem -outform DER -out public.der");
        let digest = String::from_utf8(self.run("dgst -sha256 -r public.der")).unwrap();
        digest.split(' ').next().unwrap().to_owned()
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
            .current_dir(self.folder.path())
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
            .current_dir(self.folder.path())
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

/// Runs `openssl` in a folder and returns what it prints.
pub(crate) fn openssl(folder: &Path, args: &str) -> Vec<u8> {
    let Output { status, stdout, stderr } = Command::new("openssl")
        .args(args.split_whitespace())
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("the tests need openssl");
    assert!(status.success(), "openssl {args}: {}", String::from_utf8_lossy(&stderr));
    stdout
}
