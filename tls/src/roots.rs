//! The CAs to trust, from files, folders and the system.

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;

use crate::certificate;
use crate::error::{Error, Fault};
use crate::file;

/// Whether the system's CAs are trusted in addition to those that are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roots {
    /// Only those that are given.
    Only,
    /// The system's as well.
    AndSystem,
}

/// The CAs to trust: those of a PEM file, or of all files of a folder, and the system's.
///
/// In a folder every regular file is read, also through symbolic links; files without certificates,
/// folders and broken links are skipped. Certificates that cannot serve as a CA are skipped if at
/// least one can. A missing system store is an error only if nothing else was given.
///
/// # Errors
/// [`Error::File`] if the file, the folder or a file in it cannot be read, is larger than
/// [`crate::MAX_FILE_LEN`] or is damaged, or if there is no usable certificate at all;
/// [`Error::NoSystemRoots`] and [`Error::NoRoots`] if nothing was given and nothing found.
pub fn load_roots(ca: Option<&Path>, mode: Roots) -> Result<RootCertStore, Error> {
    let given = ca.map_or_else(|| Ok(Vec::new()), read)?;
    load(ca, given, mode).map(|(store, _)| store)
}

/// The certificates of a PEM file, or of all files of a folder, as [`load_roots`] reads them.
///
/// # Errors
/// [`Error::File`] as there.
pub fn load_authorities(ca: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    read(ca)
}

/// The certificates from which [`load_roots`] makes a store.
///
/// # Errors
/// As there.
pub(crate) fn certificates(
    ca: Option<&Path>,
    mode: Roots,
) -> Result<Vec<CertificateDer<'static>>, Error> {
    let given = ca.map_or_else(|| Ok(Vec::new()), read)?;
    load(ca, given, mode).map(|(_, trusted)| trusted)
}

/// A store of the certificates from `ca` and of the system's, and all of these certificates
/// themselves.
pub(crate) fn load(
    ca: Option<&Path>,
    given: Vec<CertificateDer<'static>>,
    mode: Roots,
) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), Error> {
    let mut store = RootCertStore::empty();
    if let Some(path) = ca {
        let (added, _) = store.add_parsable_certificates(given.iter().cloned());
        if added == 0 {
            return Err(Fault::NoUsableRoot.at(path));
        }
    }
    let mut trusted = given;
    match mode {
        Roots::AndSystem => {
            let system = rustls_native_certs::load_native_certs();
            store.add_parsable_certificates(system.certs.iter().cloned());
            if store.is_empty() {
                let detail = system.errors.first().map(ToString::to_string).unwrap_or_default();
                return Err(Error::NoSystemRoots { detail });
            }
            trusted.extend(system.certs);
        }
        Roots::Only if store.is_empty() => return Err(Error::NoRoots),
        Roots::Only => {}
    }
    Ok((store, trusted))
}

/// The certificates of a file, or of the files of a folder.
pub(crate) fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let files = if path.is_dir() {
        files(path).map_err(|error| Fault::Read { error }.at(path))?
    } else {
        vec![path.to_owned()]
    };
    let mut chain = Vec::new();
    for file in files {
        chain.extend(read_file(&file)?);
    }
    if chain.is_empty() { Err(Fault::NoCertificate.at(path)) } else { Ok(chain) }
}

/// The certificates are not parsed: a folder may contain some that are not CAs'.
fn read_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    file::read(path).and_then(|pem| certificate::read(&pem)).map_err(|fault| fault.at(path))
}

fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in folder.read_dir()? {
        let path = entry?.path();
        // Follows links, which mounted volumes and `openssl rehash` make.
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
