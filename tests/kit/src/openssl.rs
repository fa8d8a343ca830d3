use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A folder of keys and certificates that the real `openssl` makes: nothing of ours has a part
/// in them.
#[derive(Debug)]
pub struct Openssl {
    folder: TempDir,
}

impl Openssl {
    /// An empty folder.
    ///
    /// # Panics
    /// If no folder can be made.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder can be made") }
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// What a file of the folder holds.
    ///
    /// # Panics
    /// If it cannot be read, or is no text.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Writes a file, and returns where it is.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), content).unwrap_or_else(|error| panic!("{name}: {error}"));
        self.path(name)
    }

    /// Runs `openssl` in the folder with arguments that are separated by spaces.
    pub fn run(&self, args: &str) -> Vec<u8> {
        openssl(self.folder(), args)
    }

    /// Runs `openssl` in the folder with arguments that may hold spaces.
    pub fn run_with(&self, args: &[&str]) -> Vec<u8> {
        openssl_with(self.folder(), args)
    }

    /// Makes `<name>.key` in PKCS#8: `ed25519`, a curve such as `P-256`, or the bits of an RSA key.
    pub fn key(&self, name: &str, kind: &str) {
        let option = match kind.parse::<u16>() {
            // To make one takes up to some seconds, and many for 8192 bits.
            Ok(4096) => {
                self.write(&format!("{name}.key"), include_str!("../../data/rsa-4096.pem"));
                return;
            }
            Ok(8192) => {
                self.write(&format!("{name}.key"), include_str!("../../data/rsa-8192.pem"));
                return;
            }
            Ok(bits) => format!("-algorithm rsa -pkeyopt rsa_keygen_bits:{bits}"),
            Err(_) if kind == "ed25519" => "-algorithm ed25519".to_owned(),
            Err(_) => format!("-algorithm ec -pkeyopt ec_paramgen_curve:{kind}"),
        };
        self.run(&format!("genpkey {option} -out {name}.key"));
    }

    /// Makes `<name>.crt`, self-signed with `<name>.key`, as a CA. `extra` are arguments of
    /// `openssl req`.
    pub fn certificate(&self, name: &str, extra: &str) {
        let subject = format!("-subj /CN={name} -days 30");
        self.run(&format!("req -x509 -key {name}.key -out {name}.crt {subject} {extra}"));
    }

    /// A key and a self-signed certificate that is no CA's.
    pub fn leaf(&self, name: &str, kind: &str) {
        self.key(name, kind);
        self.certificate(name, "-addext basicConstraints=critical,CA:FALSE");
    }

    /// Makes `<name>.crt` for `<name>.key`, signed by `ca` or by itself, with the lines of an
    /// extensions file; of X.509 version 1 without any. Its subject is `/CN=<name>` and what
    /// `more` adds.
    pub fn sign(&self, name: &str, more: &str, ca: Option<&str>, days: i32, extensions: &str) {
        self.run(&format!("req -new -key {name}.key -subj /CN={name}{more} -out {name}.csr"));
        let signer = match ca {
            Some(ca) => format!("-CA {ca}.crt -CAkey {ca}.key -CAcreateserial"),
            None => format!("-signkey {name}.key"),
        };
        let mut args = format!("x509 -req -in {name}.csr {signer} -days {days} -out {name}.crt");
        if !extensions.is_empty() {
            self.write(&format!("{name}.ext"), extensions);
            args += &format!(" -extfile {name}.ext");
        }
        self.run(&args);
    }

    /// Makes a P-256 key and a certificate that `ca` issues.
    pub fn issue(&self, ca: &str, name: &str, days: i32, extensions: &str) {
        self.key(name, "P-256");
        self.sign(name, "", Some(ca), days, extensions);
    }

    /// The identity of a certificate: SHA-256 over its DER SubjectPublicKeyInfo.
    ///
    /// # Panics
    /// If it is no certificate.
    pub fn identity(&self, certificate: &str) -> String {
        let pem = self.run(&format!("x509 -in {certificate} -noout -pubkey"));
        self.write("public.pem", pem);
        self.run("pkey -pubin -in public.pem -outform DER -out public.der");
        let digest = self.run("dgst -sha256 -r public.der");
        let digest = String::from_utf8(digest).expect("a digest is text");
        digest.split(' ').next().unwrap_or_default().to_owned()
    }
}

impl Default for Openssl {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs `openssl` in a folder with arguments that are separated by spaces, and returns what it
/// prints.
///
/// # Panics
/// If there is none, or it fails.
pub fn openssl(folder: &Path, args: &str) -> Vec<u8> {
    openssl_with(folder, &args.split_whitespace().collect::<Vec<_>>())
}

fn openssl_with(folder: &Path, args: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl")
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("the tests need openssl");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {args:?}: {stderr}");
    output.stdout
}
