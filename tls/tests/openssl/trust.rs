//! Whether a server is who it says it is.

use kes_tls::{Roots, load_certificates, server_verifier};
use rustls_pki_types::{ServerName, UnixTime};

use crate::folder::{Folder, P256};

#[test]
fn a_self_signed_ca_is_trusted_as_the_server_it_names() {
    let folder = Folder::new();
    folder.pair("one", P256); // openssl marks both as a CA
    folder.pair("two", P256);
    let chain = load_certificates(&folder.path("one.crt")).unwrap();
    let (day, now) = (86_400, UnixTime::now().as_secs());
    for (ca, name, time, good) in [
        ("one.crt", "localhost", now, true),
        ("one.crt", "other", now, false),
        ("one.crt", "localhost", now + 2 * day, false),
        ("one.crt", "localhost", now - day, false),
        ("two.crt", "localhost", now, false),
    ] {
        let verifier = server_verifier(Some(&folder.path(ca)), Roots::Only).unwrap();
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(time));
        let name = ServerName::try_from(name).unwrap();
        let result = verifier.verify_server_cert(&chain[0], &[], &name, &[], time);
        assert_eq!(result.is_ok(), good, "{ca} {name:?} {time:?}: {result:?}");
    }
}

/// Whoever signed it, and whatever it says of what it may sign.
#[test]
fn a_certificate_that_is_itself_trusted_is_taken_for_the_server_that_it_names() {
    const SAN: &str = "subjectAltName=DNS:localhost";
    let folder = Folder::new();
    folder.pair("ca", P256);
    for (name, extensions, issuer) in [
        ("own-leaf", format!("{SAN}\nbasicConstraints=critical,CA:FALSE"), None),
        ("own-bare", SAN.to_owned(), None),
        ("own-ca", format!("{SAN}\nbasicConstraints=critical,CA:TRUE"), None),
        ("issued-leaf", SAN.to_owned(), Some("ca")),
        ("issued-ca", format!("{SAN}\nbasicConstraints=critical,CA:TRUE"), Some("ca")),
        ("nameless", "basicConstraints=CA:TRUE".to_owned(), None),
        ("client", format!("{SAN}\nextendedKeyUsage=clientAuth"), None),
        ("v1", String::new(), None),
    ] {
        folder.certify(name, &extensions, issuer);
    }
    let (day, now) = (86_400, UnixTime::now().as_secs());
    let verify = |leaf: &str, chain: &[&str], trusted: &str, host: &str, time: u64| {
        let read = |name: &str| load_certificates(&folder.path(&format!("{name}.crt"))).unwrap();
        let chain: Vec<_> = chain.iter().flat_map(|name| read(name)).collect();
        let ca = folder.path(&format!("{trusted}.crt"));
        let verifier = server_verifier(Some(&ca), Roots::Only).unwrap();
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(time));
        let host = ServerName::try_from(host.to_owned()).unwrap();
        verifier.verify_server_cert(&read(leaf)[0], &chain, &host, &[], time)
    };
    for leaf in ["own-leaf", "own-bare", "own-ca", "issued-leaf", "issued-ca"] {
        for chain in [&[][..], &["ca"]] {
            let result = verify(leaf, chain, leaf, "localhost", now);
            assert!(result.is_ok(), "{leaf} {chain:?}: {result:?}");
            for (trusted, host, time) in [
                (leaf, "other", now),
                (leaf, "localhost", now + 2 * day),
                (leaf, "localhost", now - day),
                ("v1", "localhost", now),
            ] {
                let result = verify(leaf, chain, trusted, host, time);
                assert!(result.is_err(), "{leaf}, {trusted} trusted, {host} {time}");
            }
        }
    }
    // A CA that is trusted vouches for others all the same, whether it is sent along or not.
    for chain in [&[][..], &["ca"]] {
        verify("issued-leaf", chain, "ca", "localhost", now).unwrap();
    }
    for leaf in ["nameless", "client", "v1"] {
        assert!(verify(leaf, &[], leaf, "localhost", now).is_err(), "{leaf}");
    }
}
