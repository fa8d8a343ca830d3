use std::ops::Deref;

use kes_testkit::Openssl;

pub(crate) const PASSWORD: &str = "correct horse";
pub(crate) const PASSOUT: &str = "pass:correct horse";

pub(crate) const RSA: &str = "2048";
pub(crate) const P256: &str = "P-256";
pub(crate) const P384: &str = "P-384";
pub(crate) const P521: &str = "P-521";
pub(crate) const ED25519: &str = "ed25519";

/// A folder for keys; the commands run in it.
pub(crate) struct Folder(Openssl);

impl Deref for Folder {
    type Target = Openssl;

    fn deref(&self) -> &Openssl {
        &self.0
    }
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self(Openssl::new())
    }

    /// What a file holds, which may be DER.
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).expect("the file stands")
    }

    /// A private key in PKCS#8, `<name>.key`, and a self-signed certificate, `<name>.crt`.
    pub(crate) fn pair(&self, name: &str, kind: &str) {
        self.key(name, kind);
        let subject = "-subj /CN=test -days 1 -addext subjectAltName=DNS:localhost";
        self.run(&format!("req -x509 -new -key {name}.key -out {name}.crt {subject}"));
    }

    /// A private key and a certificate with these extensions, of X.509 v1 without any; signed by
    /// the pair `issuer`, or by itself.
    pub(crate) fn certify(&self, name: &str, extensions: &str, issuer: Option<&str>) {
        self.key(name, P256);
        self.sign(name, "", issuer, 1, extensions);
    }
}
