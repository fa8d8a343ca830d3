//! A folder of keys and certificates that `openssl` makes.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

pub(crate) const PASSWORD: &str = "correct horse";
pub(crate) const PASSOUT: &str = "pass:correct horse";

/// A folder for keys; the commands run in it.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().expect("a temporary folder"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).expect("the file stands")
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(name), content).expect("the folder is writable");
        self.path(name)
    }

    pub(crate) fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .output()
            .expect("openssl is installed");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments:?}: {stderr}");
    }

    /// A private key in PKCS#8, `<name>.key`, and a self-signed certificate, `<name>.crt`.
    pub(crate) fn pair(&self, name: &str, algorithm: &[&str]) {
        let (key, certificate) = (format!("{name}.key"), format!("{name}.crt"));
        self.openssl(&[&["genpkey", "-out", &key], algorithm].concat());
        self.openssl(&[
            "req",
            "-x509",
            "-new",
            "-key",
            &key,
            "-out",
            &certificate,
            "-subj",
            "/CN=test",
            "-days",
            "1",
            "-addext",
            "subjectAltName=DNS:localhost",
        ]);
    }

    /// A private key and a certificate with these extensions, of X.509 v1 without any; signed by
    /// the pair `issuer`, or by itself.
    pub(crate) fn certify(&self, name: &str, extensions: &str, issuer: Option<&str>) {
        let [key, request, certificate, config] =
            ["key", "csr", "crt", "cnf"].map(|end| format!("{name}.{end}"));
        self.openssl(&[&["genpkey", "-out", &key], P256].concat());
        let subject = format!("/CN={name}");
        self.openssl(&["req", "-new", "-key", &key, "-subj", &subject, "-out", &request]);
        self.write(&config, extensions);
        let signer = issuer.unwrap_or(name);
        let (ca, ca_key) = (format!("{signer}.crt"), format!("{signer}.key"));
        let signed = match issuer {
            Some(_) => vec!["-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial"],
            None => vec!["-signkey", &key],
        };
        let mut arguments = vec!["x509", "-req", "-in", &request, "-days", "1"];
        arguments.extend(signed);
        if !extensions.is_empty() {
            arguments.extend(["-extfile", &config]);
        }
        arguments.extend(["-out", &certificate]);
        self.openssl(&arguments);
    }
}

pub(crate) const RSA: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
pub(crate) const P256: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
pub(crate) const P384: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"];
pub(crate) const P521: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"];
pub(crate) const ED25519: &[&str] = &["-algorithm", "ED25519"];
