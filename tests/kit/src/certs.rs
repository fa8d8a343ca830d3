use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SignatureAlgorithm,
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
        let pair = Pair::of(self.folder.path(), name);
        write_private(&pair.key, &key.serialize_pem());
        write(&pair.certificate, &own.pem());
        pair
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// A private key and a certificate that it signed itself, in memory. [`SelfSigned::new`] makes one
/// as most tests need it, and [`SelfSigned::builder`] another.
#[derive(Debug)]
pub struct SelfSigned {
    /// The private key, PKCS#8 in DER.
    pub key: Vec<u8>,
    /// The private key, PKCS#8 in PEM.
    pub key_pem: String,
    /// The certificate in DER.
    pub certificate: Vec<u8>,
    /// The certificate in PEM.
    pub certificate_pem: String,
}

/// What a self-signed certificate is to be.
#[derive(Debug)]
#[must_use]
pub struct SelfSignedBuilder {
    params: CertificateParams,
    algorithm: &'static SignatureAlgorithm,
}

impl SelfSigned {
    /// A certificate for these host names and addresses, ECDSA P-256.
    pub fn new(names: &[&str]) -> Self {
        Self::builder(names).make()
    }

    /// Begins a certificate for these host names and addresses.
    ///
    /// # Panics
    /// If a name is invalid.
    pub fn builder(names: &[&str]) -> SelfSignedBuilder {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let params = CertificateParams::new(names).expect("the names are valid");
        SelfSignedBuilder { params, algorithm: &PKCS_ECDSA_P256_SHA256 }
    }

    /// Writes `<name>.key` and `<name>.crt`.
    ///
    /// # Panics
    /// If they cannot be written.
    pub fn write(&self, folder: &Path, name: &str) -> Pair {
        let pair = Pair::of(folder, name);
        write_private(&pair.key, &self.key_pem);
        write(&pair.certificate, &self.certificate_pem);
        pair
    }
}

impl SelfSignedBuilder {
    /// With an Ed25519 key.
    pub fn ed25519(mut self) -> Self {
        self.algorithm = &PKCS_ED25519;
        self
    }

    /// Valid between two times, to the second.
    pub fn valid(mut self, from: SystemTime, until: SystemTime) -> Self {
        (self.params.not_before, self.params.not_after) = (from.into(), until.into());
        self
    }

    /// Makes the key and the certificate.
    ///
    /// # Panics
    /// If the library cannot.
    pub fn make(self) -> SelfSigned {
        let key = KeyPair::generate_for(self.algorithm).expect("a key pair can be made");
        let certificate = self.params.self_signed(&key).expect("a key can sign");
        SelfSigned {
            key: key.serialize_der(),
            key_pem: key.serialize_pem(),
            certificate: certificate.der().to_vec(),
            certificate_pem: certificate.pem(),
        }
    }
}

impl Pair {
    fn of(folder: &Path, name: &str) -> Self {
        let file = |end| folder.join(format!("{name}.{end}"));
        Self { key: file("key"), certificate: file("crt") }
    }
}

fn params(name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("the names are valid");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// Writes a file that its owner alone can read.
fn write_private(path: &Path, text: &str) {
    write(path, text);
    fs::set_permissions(path, PermissionsExt::from_mode(0o600)).expect("it is the owner's");
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
