//! Which client certificates a trusted CA vouches for, made by `openssl`: X.509 versions 1 and 3
//! in every combination with what a CA may and may not do.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use kes_testkit::Openssl;
use kes_tls::{ClientChains, Usage, certificate_fault, load_certificates, subject};
use rustls::CertificateError;
use rustls_pki_types::{CertificateDer, UnixTime};

const CA: &str = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign";
const LEAF: &str = "basicConstraints=critical,CA:FALSE";

/// A folder of keys and certificates.
struct Folder(Openssl);

impl Folder {
    fn new() -> Self {
        Self(Openssl::new())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }

    /// A self-signed certificate with extensions; of version 1 without.
    fn root(&self, name: &str, kind: &str, extensions: &str) {
        self.0.key(name, kind);
        self.0.sign(name, "/O=x", None, 30, extensions);
    }

    /// A certificate that `ca` signs: with extensions, or of version 1 without.
    fn issue(&self, ca: &str, name: &str, extensions: &str) {
        self.0.key(name, "P-256");
        self.0.sign(name, "/O=x", Some(ca), 30, extensions);
    }

    fn certificate(&self, name: &str) -> CertificateDer<'static> {
        load_certificates(&self.path(&format!("{name}.crt"))).unwrap().remove(0)
    }

    fn chains(&self, ca: &str) -> ClientChains {
        ClientChains::load(Some(&self.path(&format!("{ca}.crt")))).unwrap()
    }

    /// Whether a client is let in that sends these certificates, its own first.
    fn verify(&self, ca: &str, sent: &[&str]) -> Result<(), CertificateError> {
        let sent: Vec<_> = sent.iter().map(|name| self.certificate(name)).collect();
        self.chains(ca).verify(&sent[0], &sent[1..], UnixTime::now())
    }
}

fn is_version1(certificate: &CertificateDer<'_>) -> bool {
    // SEQUENCE, SEQUENCE, and the serial number instead of `[0]`.
    !certificate.windows(5).take(20).any(|bytes| bytes == [0xa0, 3, 2, 1, 2])
}

#[test]
fn a_certificate_of_version_1_is_accepted_where_its_ca_verifies() {
    let folder = Folder::new();
    for kind in ["2048", "P-256", "P-384", "ed25519"] {
        folder.root("ca", kind, CA);
        folder.root("foreign", kind, CA);
        folder.issue("ca", "good", "");
        folder.issue("foreign", "bad", "");
        assert!(is_version1(&folder.certificate("good")));
        assert_eq!(folder.verify("ca", &["good"]), Ok(()), "{kind}");
        assert_eq!(folder.verify("ca", &["bad"]), Err(CertificateError::UnknownIssuer), "{kind}");
        // A CA of the same name and another key.
        std::fs::copy(folder.path("ca.crt"), folder.path("true.crt")).unwrap();
        for rekeyed in ["2048", "P-256"] {
            folder.root("ca", rekeyed, CA);
            let error = folder.verify("ca", &["good"]).unwrap_err();
            let told = certificate_fault(&error, Usage::Client);
            let cause = "its issuer has the name of a trusted CA, but another key";
            assert!(told.ends_with(cause), "{kind}, {rekeyed}: {told}");
        }
        assert_eq!(folder.verify("true", &["good"]), Ok(()), "{kind}");
    }
}

#[test]
fn a_changed_certificate_of_version_1_is_refused() {
    let folder = Folder::new();
    folder.root("ca", "P-256", CA);
    folder.issue("ca", "good", "");
    let chains = folder.chains("ca");
    let good = folder.certificate("good");
    assert_eq!(chains.verify(&good, &[], UnixTime::now()), Ok(()));
    for position in 0..good.len() {
        let mut changed = good.to_vec();
        changed[position] ^= 1;
        let result = chains.verify(&changed.into(), &[], UnixTime::now());
        assert!(result.is_err(), "byte {position} of {} does not count", good.len());
    }
}

#[test]
fn the_dates_of_a_certificate_of_version_1_count() {
    let folder = Folder::new();
    folder.root("ca", "P-256", CA);
    folder.issue("ca", "v1", "");
    folder.issue("ca", "v3", LEAF);
    let chains = folder.chains("ca");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let day = Duration::from_secs(24 * 60 * 60);
    for name in ["v1", "v3"] {
        let leaf = folder.certificate(name);
        let at = |time| chains.verify(&leaf, &[], UnixTime::since_unix_epoch(time));
        assert_eq!(at(now), Ok(()), "{name}");
        assert_eq!(at(now + day * 29), Ok(()), "{name}");
        let expired = at(now + day * 31).unwrap_err();
        assert!(matches!(expired, CertificateError::ExpiredContext { .. }), "{name}: {expired:?}");
        let early = at(now - day).unwrap_err();
        assert!(matches!(early, CertificateError::NotValidYetContext { .. }), "{name}: {early:?}");
    }
}

#[test]
fn the_rules_of_the_cas_between_hold_for_both_versions() {
    let folder = Folder::new();
    folder.root("ca", "P-256", CA);
    folder.root("flat", "P-256", "basicConstraints=critical,CA:TRUE,pathlen:0");
    for (root, name, extensions, allowed) in [
        ("ca", "plain", CA, true),
        ("ca", "lowest", "basicConstraints=critical,CA:TRUE,pathlen:0", true),
        ("ca", "for-clients", &format!("{CA}\nextendedKeyUsage=clientAuth"), true),
        ("ca", "for-servers", &format!("{CA}\nextendedKeyUsage=serverAuth"), false),
        ("ca", "no-ca", LEAF, false),
        ("ca", "of-version-1", "", false),
        ("ca", "no-constraints", "keyUsage=keyCertSign", false),
        (
            "ca",
            "signs-no-certificates",
            "basicConstraints=CA:TRUE\nkeyUsage=digitalSignature",
            false,
        ),
        ("ca", "unknown", &format!("{CA}\n1.2.3.4=critical,DER:0500"), false),
        // The root allows no CA below it.
        ("flat", "below-flat", CA, false),
    ] {
        folder.issue(root, name, extensions);
        for (leaf, version) in [("v1", ""), ("v3", LEAF)] {
            folder.issue(name, leaf, version);
            let result = folder.verify(root, &[leaf, name]);
            assert_eq!(result.is_ok(), allowed, "{leaf} below {name}: {result:?}");
            // Without the CA between there is no chain, whatever it may do.
            assert_eq!(folder.verify(root, &[leaf]), Err(CertificateError::UnknownIssuer));
        }
    }
    // One CA more than the path may have.
    folder.issue("lowest", "too-deep", CA);
    folder.issue("plain", "deep", CA);
    for (leaf, version) in [("v1", ""), ("v3", LEAF)] {
        folder.issue("too-deep", leaf, version);
        assert!(folder.verify("ca", &[leaf, "too-deep", "lowest"]).is_err(), "{leaf}");
        folder.issue("deep", leaf, version);
        assert_eq!(folder.verify("ca", &[leaf, "deep", "plain"]), Ok(()), "{leaf}");
    }
}

#[test]
fn a_name_that_a_ca_must_not_give_is_refused() {
    let folder = Folder::new();
    folder.root("ca", "P-256", CA);
    let names = "nameConstraints=critical,permitted;dirName:only\n[only]\nO=Elsewhere";
    folder.issue("ca", "narrow", &format!("{CA}\n{names}"));
    for (leaf, version) in [("v1", ""), ("v3", LEAF)] {
        folder.issue("narrow", leaf, version);
        assert!(folder.verify("ca", &[leaf, "narrow"]).is_err(), "{leaf}");
    }
}

/// webpki takes every trusted certificate for a CA.
#[test]
fn what_is_trusted_vouches_for_others_only_if_it_is_a_ca() {
    let folder = Folder::new();
    for (root, extensions, allowed) in [
        ("full", CA, true),
        ("no-key-usage", "basicConstraints=CA:TRUE", true),
        // It is trusted by its file, and has nothing that says more of it.
        ("version-1", "", true),
        ("client", LEAF, false),
        ("no-constraints", "keyUsage=digitalSignature", false),
        ("signs-no-certificates", "basicConstraints=CA:TRUE\nkeyUsage=cRLSign", false),
        ("for-servers", &format!("{CA}\nextendedKeyUsage=serverAuth"), false),
    ] {
        folder.root(root, "P-256", extensions);
        for (leaf, version) in [("v1", ""), ("v3", LEAF)] {
            folder.issue(root, leaf, version);
            let result = folder.verify(root, &[leaf]);
            assert_eq!(result.is_ok(), allowed, "{leaf} of {root}: {result:?}");
        }
    }
    // Each client's own certificate may be what is trusted, and then it alone is.
    for name in ["client", "version-1"] {
        assert_eq!(folder.verify(name, &[name]), Ok(()), "{name}");
    }
    // One that has expired vouches for nobody.
    folder.0.sign("full", "/O=x", None, -1, CA);
    for (leaf, version) in [("v1", ""), ("v3", LEAF)] {
        folder.issue("full", leaf, version);
        assert!(folder.verify("full", &[leaf]).is_err(), "{leaf}");
    }
}

#[test]
fn subjects_are_read_whatever_the_version() {
    let folder = Folder::new();
    folder.root("ca", "P-256", CA);
    folder.issue("ca", "v1", "");
    assert_eq!(subject(&folder.certificate("v1")).unwrap(), "CN=v1,O=x");
    assert_eq!(subject(&folder.certificate("ca")).unwrap(), "CN=ca,O=x");
    assert_eq!(subject(b"no certificate"), None);
}
