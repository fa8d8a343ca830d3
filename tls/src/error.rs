//! What can be wrong with a file that holds a private key or certificates.

use std::io;
use std::path::{Path, PathBuf};

use crate::MAX_FILE_LEN;

/// Why keys, certificates or trusted CAs could not be loaded. The text names the file and the
/// fault.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder.
    #[error("{}: {fault}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        fault: Fault,
    },
    /// A certificate and a private key from two files.
    #[error("{} and {}: {fault}", certificate.display(), key.display())]
    Pair {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the private key.
        key: PathBuf,
        /// What is wrong with the two.
        fault: Fault,
    },
    /// The system's CAs should be trusted, and there are none.
    #[error("no CA certificates were found on this system{}", note(detail))]
    NoSystemRoots {
        /// Why, if that is known.
        detail: String,
    },
    /// Neither the system's CAs nor any others were to be trusted.
    #[error("no CA certificates were given")]
    NoRoots,
}

/// What is wrong with one file, or with a PEM text.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The operating system refuses it.
    #[error("cannot be read: {error}")]
    Read {
        /// Its reason.
        error: io::Error,
    },
    /// Larger than [`MAX_FILE_LEN`].
    #[error("is larger than {} KiB, the most that the program reads", MAX_FILE_LEN / 1024)]
    TooLarge,
    /// No PEM section `CERTIFICATE`.
    #[error("holds no certificate in PEM form")]
    NoCertificate,
    /// No PEM section with a private key.
    #[error("holds no private key in PEM form")]
    NoPrivateKey,
    /// A PEM section that does not end.
    #[error("the PEM section '{label}' has no end: the file seems to be cut off")]
    NoEnd {
        /// Which section.
        label: String,
    },
    /// A PEM section whose content is not base64.
    #[error("the PEM section '{label}' is damaged: it is not base64")]
    NotBase64 {
        /// Which section.
        label: String,
    },
    /// A damaged certificate, or one that TLS cannot use.
    #[error("certificate number {number} is damaged or is not an X.509 certificate")]
    InvalidCertificate {
        /// The first is 1.
        number: usize,
    },
    /// CA certificates, none of which is usable.
    #[error("holds no CA certificate that can be used")]
    NoUsableRoot,
    /// A server certificate without a DNS name or IP address.
    #[error("the certificate has no DNS name or IP address as subject alternative name")]
    NoServerName,
    /// A private key that the provider does not accept.
    #[error(
        "the private key is damaged or not supported; supported are RSA of 2048 to 8192 bits, ECDSA P-256, P-384 and P-521, and Ed25519"
    )]
    InvalidKey,
    /// A PEM section for a private key in an unsupported form.
    #[error(
        "a private key of the form '{label}' is not supported; supported are PKCS#8, PKCS#1 and SEC1"
    )]
    UnsupportedKey {
        /// The section.
        label: String,
    },
    /// An encrypted private key, and no password.
    #[error("the private key is encrypted, and no password was given")]
    MissingPassword,
    /// A file for the password of a private key, and no password in it.
    #[error("holds no password, and the private key is encrypted")]
    EmptyPassword,
    /// A wrong password.
    #[error("the password is wrong, or the encrypted private key is damaged")]
    WrongPassword,
    /// A private key that is encrypted in an unsupported way.
    #[error("the private key is encrypted with {cipher}, which is not supported")]
    UnsupportedCipher {
        /// Its name or object identifier.
        cipher: String,
    },
    /// A password and a FIPS build, whose module encrypts no private keys.
    #[error(
        "the private key is or would be encrypted with a password, which this FIPS build refuses: store it as plain PKCS#8 (`openssl pkey -in old.pem -out new.pem`) and protect the file, for example as a systemd credential"
    )]
    UnapprovedEncryption,
    /// The parameters of the encryption are invalid.
    #[error("the encryption parameters of the private key are invalid: {what}")]
    InvalidEncryption {
        /// What is wrong.
        what: &'static str,
    },
    /// The private key belongs to another certificate.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
    /// The system's generator of random numbers failed.
    #[error("the system's random number generator failed")]
    Random,
}

impl Fault {
    /// Names the file.
    pub(crate) fn at(self, path: &Path) -> Error {
        Error::File { path: path.to_owned(), fault: self }
    }
}

fn note(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(": {detail}") }
}
