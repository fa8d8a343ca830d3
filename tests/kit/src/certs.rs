use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tempfile::TempDir;

/// A private CA and the folder that holds what it issues.
#[derive(Debug)]
pub struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    certificate: PathBuf,
}

/// A private key and the certificate for it, as PEM files.
#[derive(Clone, Debug)]
pub struct Pair {
    /// PKCS#8
    pub key: PathBuf,
    /// The certificate alone, without the CA's.
    pub certificate: PathBuf,
}

impl Authority {
    /// Makes a new CA.
    ///
    /// # Panics
    /// If no folder can be made.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let mut params = params("private CA of a test", &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().expect("a key pair can be made");
        let own = params.self_signed(&key).expect("a CA can sign itself");
        let certificate = folder.path().join("ca.crt");
        write(&certificate, &own.pem());
        Self { folder, issuer: Issuer::new(params, key), certificate }
    }

    /// The CA's own certificate, a PEM file.
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// A folder to put more files in; it goes with the CA.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Issues a server certificate for 127.0.0.1 and localhost.
    pub fn server(&self, name: &str) -> Pair {
        self.issue(name, &["127.0.0.1", "localhost"], ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Issues a client certificate.
    pub fn client(&self, name: &str) -> Pair {
        self.issue(name, &[name], ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(&self, name: &str, names: &[&str], usage: ExtendedKeyUsagePurpose) -> Pair {
        let mut params = params(name, names);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("a key pair can be made");
        let own = params.signed_by(&key, &self.issuer).expect("the CA can sign");
        let pair = Pair {
            key: self.folder.path().join(format!("{name}.key")),
            certificate: self.folder.path().join(format!("{name}.crt")),
        };
        write(&pair.key, &key.serialize_pem());
        write(&pair.certificate, &own.pem());
        pair
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

fn params(name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("the names are valid");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
