//! The credentials of a dev server, and the settings that its user pastes.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use kes_api::SecretBytes;
use kes_client::{ApiKey, certificate_to_pem, dev_server};
use kes_server::Source;
use rustls::sign::CertifiedKey;

use crate::file::{self, Access};
use crate::output::Output;

/// A new API key and server certificate. The certificate is in a file until this is dropped, so
/// that clients can trust it.
pub(super) struct Credentials {
    api_key: ApiKey,
    certificate: Arc<CertifiedKey>,
    /// `None` if it could not be written; clients then have to trust any server.
    file: Option<PathBuf>,
}

impl Credentials {
    /// Makes both; the certificate is for these addresses.
    pub(super) fn new(addresses: &[IpAddr]) -> Result<Self> {
        let api_key = ApiKey::generate()?;
        let (certificate, key) = dev_server(addresses)?;
        let pem = certificate_to_pem(&certificate);
        // Named after the identity, so that no two servers write the same file.
        let name = format!("kes-dev-{}.crt", &api_key.identity().to_hex().as_str()[..16]);
        let path = folder().join(name);
        let written = file::stage(&path, pem.as_bytes(), Access::Public, false)
            .is_ok_and(|file| file.commit().is_ok());
        let certificate = kes_tls::match_key(&[certificate], &key)?;
        Ok(Self { api_key, certificate, file: written.then_some(path) })
    }

    /// The server's configuration: keys in memory, the API key is admin.
    pub(super) fn source(&self) -> Source {
        Source::Dev { admin: self.api_key.identity(), certificate: Arc::clone(&self.certificate) }
    }

    /// Prints the API key as a line of the start-up message, and the settings to paste.
    pub(super) fn announce(&self, address: SocketAddr) -> Result<()> {
        const INVARIANT: &str = "memory takes all text";
        let api_key = self.api_key.expose();
        let mut text = SecretBytes::default();
        write!(
            text,
            "API Key     {key}

A server to try things out: the keys are gone when it ends.

In another shell, the first key:

   export KES_SERVER=https://{address}
   export KES_API_KEY={key}
",
            key = *api_key
        )
        .expect(INVARIANT);
        let trust = match &self.file {
            Some(file) => {
                writeln!(text, "   export KES_CAPATH={}", file.display()).expect(INVARIANT);
                ""
            }
            None => " -k",
        };
        write!(
            text,
            "   kes key create{trust} my-key

The settings of MinIO:

   export MINIO_KMS_KES_ENDPOINT=https://{address}
   export MINIO_KMS_KES_API_KEY={key}
   export MINIO_KMS_KES_KEY_NAME=my-key
",
            key = *api_key
        )
        .expect(INVARIANT);
        if let Some(file) = &self.file {
            writeln!(text, "   export MINIO_KMS_KES_CAPATH={}", file.display()).expect(INVARIANT);
        }
        Output::new().secret(&[text.expose()])
    }
}

impl Drop for Credentials {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            // A file that stays does no harm.
            let _ = std::fs::remove_file(file);
        }
    }
}

/// The user's runtime folder, or else the folder for temporary files.
fn folder() -> PathBuf {
    std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|path| path.is_dir())
        .unwrap_or_else(std::env::temp_dir)
}
