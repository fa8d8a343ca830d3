//! The CAs to trust, from files and folders.

use std::path::Path;

use kes_tls::{Error, Roots, load_roots};

use crate::folder::{Folder, P256};

#[test]
fn roots_come_from_files_and_folders() {
    let folder = Folder::new();
    for name in ["one", "two"] {
        folder.pair(name, P256);
    }
    let count = |path: &Path| load_roots(Some(path), Roots::Only).map(|store| store.len());
    assert_eq!(count(&folder.path("one.crt")).unwrap(), 1);
    let both = folder.write("both.pem", [folder.read("one.crt"), folder.read("two.crt")].concat());
    assert_eq!(count(&both).unwrap(), 2);

    // As a volume is mounted: links through a folder that is itself a link.
    let mounted = folder.path("mounted");
    std::fs::create_dir_all(mounted.join("..2026_11_22")).unwrap();
    std::fs::copy(folder.path("one.crt"), mounted.join("..2026_11_22/ca.crt")).unwrap();
    std::os::unix::fs::symlink("..2026_11_22", mounted.join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/ca.crt", mounted.join("ca.crt")).unwrap();
    std::os::unix::fs::symlink("gone", mounted.join("dangling")).unwrap();
    std::fs::write(mounted.join("README"), "no certificate").unwrap();
    std::fs::copy(folder.path("one.key"), mounted.join("key.pem")).unwrap();
    assert_eq!(count(&mounted).unwrap(), 1);
    std::fs::copy(folder.path("two.crt"), mounted.join("two.crt")).unwrap();
    assert_eq!(count(&mounted).unwrap(), 2);

    let empty = folder.path("empty");
    std::fs::create_dir(&empty).unwrap();
    let no_ca =
        folder.write("no-ca.pem", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n");
    for (path, text) in [
        (&empty, "holds no certificate"),
        (&folder.path("one.key"), "holds no certificate"),
        (&no_ca, "holds no CA certificate that can be used"),
        (&folder.path("missing"), "cannot be read"),
    ] {
        let error = count(path).unwrap_err().to_string();
        assert!(error.contains(text) && error.contains(path.to_str().unwrap()), "{error}");
    }
    assert!(matches!(load_roots(None, Roots::Only), Err(Error::NoRoots)));
}
