//! The credentials of a dev server, and the settings that its user pastes.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use kes_api::SecretBytes;
use kes_client::{ApiKey, certificate_to_pem, dev_server};
use kes_server::Source;
use rustix::fs::OFlags;
use rustix::process::geteuid;
use rustls::sign::CertifiedKey;

use crate::output::Output;

/// What the names of certificate files begin and end with. Between them stand digits of the identity,
/// so that no two servers write the same file.
const NAME: (&str, &str) = ("kes-dev-", ".crt");

/// How many digits.
const DIGITS: usize = 16;

/// A new API key and server certificate. The certificate is in a file until this is dropped, so
/// that clients can trust it.
pub(super) struct Credentials {
    api_key: ApiKey,
    certificate: Arc<CertifiedKey>,
    /// `None` if it could not be written; clients then have to trust any server.
    file: Option<CertificateFile>,
}

/// A certificate file. Its server has it locked, so that another server can tell it from one whose
/// server was killed.
struct CertificateFile {
    path: PathBuf,
    file: File,
}

impl Credentials {
    /// Makes both; the certificate is for these addresses.
    pub(super) fn new(addresses: &[IpAddr]) -> Result<Self> {
        let api_key = ApiKey::generate()?;
        let (certificate, key) = dev_server(addresses)?;
        let pem = certificate_to_pem(&certificate);
        let folder = folder();
        remove_leftovers(&folder);
        let identity = api_key.identity().to_hex();
        let name = [NAME.0, &identity.as_str()[..DIGITS], NAME.1].concat();
        let path = folder.join(name);
        let file = CertificateFile::create(path, pem.as_bytes()).ok();
        let certificate = kes_tls::match_key(&[certificate], &key)?;
        Ok(Self { api_key, certificate, file })
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
                writeln!(text, "   export KES_CAPATH={}", file.path.display()).expect(INVARIANT);
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
            writeln!(text, "   export MINIO_KMS_KES_CAPATH={}", file.path.display())
                .expect(INVARIANT);
        }
        Output::new().secret(&[text.expose()])
    }
}

impl CertificateFile {
    fn create(path: PathBuf, pem: &[u8]) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&path)?;
        let mut created = Self { path, file };
        // Before anything is written: an empty file is not taken for a leftover.
        created.file.lock()?;
        created.file.write_all(pem)?;
        Ok(created)
    }
}

impl Drop for CertificateFile {
    fn drop(&mut self) {
        // A file that stays does no harm.
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes the certificate files of this user's servers that were killed.
fn remove_leftovers(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if is_certificate_file(&entry.file_name()) && is_left(&entry.path()).unwrap_or(false) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether a file is named as the certificate of a dev server.
pub(crate) fn is_certificate_file(name: &OsStr) -> bool {
    let name = name.to_str().and_then(|name| name.strip_prefix(NAME.0)?.strip_suffix(NAME.1));
    name.is_some_and(|name| name.len() == DIGITS && name.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Whether a certificate file is this user's, and no server has it locked.
fn is_left(path: &Path) -> io::Result<bool> {
    // A link is not followed, and nobody is waited for.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = flags.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    let is_own = found.is_file() && found.uid() == geteuid().as_raw();
    Ok(is_own && found.len() > 0 && file.try_lock().is_ok())
}

/// The user's runtime folder, or else the folder for temporary files.
fn folder() -> PathBuf {
    std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|path| path.is_dir())
        .unwrap_or_else(std::env::temp_dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_a_killed_server_is_removed_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let running = CertificateFile::create(at("kes-dev-0123456789abcdef.crt"), b"pem").unwrap();
        for name in [
            "kes-dev-00000000000000ff.crt",
            "kes-dev-00000000000000ff.crt.old",
            "kes-dev-00000000000000f.crt",
            "kes-dev-00000000000000fg.crt",
            "kes-prod-0000000000000ff.crt",
        ] {
            fs::write(at(name), "pem").unwrap();
        }
        // One that another server is about to write.
        fs::write(at("kes-dev-1111111111111111.crt"), "").unwrap();
        std::os::unix::fs::symlink(
            at("kes-dev-00000000000000f.crt"),
            at("kes-dev-2222222222222222.crt"),
        )
        .unwrap();
        let count = || fs::read_dir(folder.path()).unwrap().count();
        let before = count();
        remove_leftovers(folder.path());
        assert!(!at("kes-dev-00000000000000ff.crt").exists());
        assert_eq!(count(), before - 1);
        remove_leftovers(Path::new("/no/such/folder"));

        let path = running.path.clone();
        assert_eq!(fs::read(&path).unwrap(), b"pem");
        assert!(CertificateFile::create(path.clone(), b"another").is_err());
        drop(running);
        assert!(!path.exists());
    }
}
