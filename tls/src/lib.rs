//! Private keys, certificates and trust: what TLS needs from files, for server and clients.
//!
//! - [`provider`]: the one implementation of cryptography that TLS uses here.
//! - [`load_certificates`], [`load_private_key`]: PEM files, encrypted private keys included.
//! - [`validity`]: when a certificate is valid; [`Life`]: how long it still is; [`subject`]: its
//!   subject.
//! - [`match_key`], [`load_certified_key`]: a certificate chain with its private key.
//! - [`load_roots`]: the CAs to trust, from files, folders and the system.
//! - [`ClientChains`]: the CAs that may issue client certificates.
//! - [`server_verifier`], [`server_verifier_of_pem`]: verifies servers for a client.
//!
//! Private keys and every buffer that held one are wiped. Errors name the file and what is
//! wrong with it, never a byte of a key or a password.

#![warn(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unreachable,
    reason = "requests come here; what cannot fail says why at its place"
)]

use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;

/// What can be wrong with a file.
mod error;

/// Bounded reads of files.
mod file;

/// Passwords of private keys.
mod password;

/// Sections of PEM text.
mod pem;

/// Certificates and the private key that belongs to them.
mod certificate;

/// Private keys in all their PEM forms.
mod private_key;

/// PKCS#8 encryption of private keys.
mod pkcs8;

/// The encryption of PEM sections of RFC 1423.
mod rfc1423;

/// The CAs to trust.
mod roots;

/// Verification of servers.
mod verifier;

/// Verification of client certificates.
mod client;

/// What is wrong with a certificate, in words.
mod fault;

/// What CA certificates are allowed to sign.
mod authority;

/// Certificates rewritten for the library that verifies chains.
mod rewritten;

/// Certificates of X.509 version 1.
mod version1;

/// Certificates of servers that are marked as a CA's.
mod ca_leaf;

/// The remaining life of a certificate.
mod life;

/// Names of certificates.
mod name;

pub use certificate::{
    Validity, check_server_certificate, load_certificates, load_certified_key, match_key,
    parse_certificates, validity,
};
pub use client::ClientChains;
pub use error::{Error, Fault};
pub use fault::{Usage, certificate_fault};
pub use file::open_file;
pub use life::Life;
pub use name::subject;
pub use password::load_password;
pub use private_key::{PrivateKey, is_encrypted, load_private_key, parse_private_key, pem};
pub use roots::{Roots, load_authorities, load_roots};
pub use verifier::{server_verifier, server_verifier_of_pem};

/// The largest file that is read, in bytes. All CAs of a system take a quarter of that. The limit
/// keeps a wrong path, such as that of a log or a device, from filling the memory.
pub const MAX_FILE_LEN: usize = 1024 * 1024;

/// The cryptography of every TLS session: aws-lc-rs, because it verifies P-521 as well.
///
/// Every TLS configuration is built with it explicitly; nothing depends on the process's default
/// provider. In a FIPS build these are the approved algorithms of AWS-LC's FIPS module.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())))
}

/// Whether all of the cryptography of TLS is that of a FIPS 140-3 module in its approved mode: true
/// in a build with the feature `fips` alone.
pub fn is_fips() -> bool {
    provider().fips()
}
