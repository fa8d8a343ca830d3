//! Whether a server is who it says it is.

use kes_tls::{Roots, load_certificates, server_verifier};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

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

/// What becomes of a server with this certificate, and of one whose certificate differs in that it
/// does not say that it is a CA: the chain decides in both cases.
#[test]
fn a_ca_certificate_of_a_trusted_chain_is_taken_for_the_server_that_it_names() {
    const SAN: &str = "subjectAltName=DNS:localhost\n";
    const CA: &str = "basicConstraints=critical,CA:TRUE";
    let folder = Folder::new();
    let may_sign = format!("{CA}\nkeyUsage=keyCertSign");
    for (name, extensions, issuer) in [
        ("root", may_sign.clone(), None),
        ("other", may_sign.clone(), None),
        ("last", format!("{CA},pathlen:0"), Some("root")),
        ("below", CA.to_owned(), Some("last")),
        ("no-ca", "basicConstraints=CA:FALSE".to_owned(), Some("root")),
        ("right", format!("{CA}\nnameConstraints=critical,permitted;DNS:localhost"), Some("root")),
        ("wrong", format!("{CA}\nnameConstraints=critical,excluded;DNS:localhost"), Some("root")),
    ] {
        folder.certify(name, &extensions, issuer);
    }
    let read = |name: &str| load_certificates(&folder.path(&format!("{name}.crt"))).unwrap();
    // Certificates are made below: each of them is valid ten minutes from now.
    let (day, now) = (86_400, UnixTime::now().as_secs() + 600);
    let verify = |leaf: &CertificateDer<'_>, chain: &[&str], trusted: &str, host: &str, time| {
        let chain: Vec<_> = chain.iter().flat_map(|name| read(name)).collect();
        let ca = folder.path(&format!("{trusted}.crt"));
        let verifier = server_verifier(Some(&ca), Roots::Only).unwrap();
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(time));
        let host = ServerName::try_from(host.to_owned()).unwrap();
        verifier.verify_server_cert(leaf, &chain, &host, &[], time).map(drop)
    };
    for (flag, constraints) in [("leaf", "basicConstraints=CA:FALSE"), ("ca", CA)] {
        for (issuer, chain, more, good) in [
            ("root", &[][..], "", true),
            ("root", &[], "extendedKeyUsage=serverAuth", true),
            ("root", &[], "extendedKeyUsage=clientAuth", false),
            // A path length counts the CAs between, and not the certificate at the end.
            ("last", &["last"], "", true),
            ("last", &[], "", false),
            ("below", &["below", "last"], "", false),
            ("no-ca", &["no-ca"], "", false),
            ("right", &["right"], "", true),
            ("wrong", &["wrong"], "", false),
        ] {
            let case = format!("{flag} of {issuer} {more}");
            folder.certify("server", &format!("{SAN}{constraints}\n{more}"), Some(issuer));
            let leaf = &read("server")[0];
            let result = verify(leaf, chain, "root", "localhost", now);
            assert_eq!(result.is_ok(), good, "{case}: {result:?}");
            for (trusted, host, time) in [
                ("other", "localhost", now),
                ("root", "elsewhere", now),
                ("root", "localhost", now + 2 * day),
                ("root", "localhost", now - day),
            ] {
                let result = verify(leaf, chain, trusted, host, time);
                assert!(result.is_err(), "{case}, {trusted} trusted, {host} {time}");
            }
        }
        // What the CA did not sign, each byte of it.
        folder.certify("server", &format!("{SAN}{constraints}"), Some("root"));
        let leaf = &read("server")[0];
        for index in 0..leaf.len() {
            let mut changed = leaf.to_vec();
            changed[index] ^= 1;
            let result = verify(&changed.into(), &[], "root", "localhost", now);
            assert!(result.is_err(), "{flag}: byte {index} was changed");
        }
        // A CA of the same name.
        let impostor = Folder::new();
        impostor.certify("root", &may_sign, None);
        impostor.certify("server", &format!("{SAN}{constraints}"), Some("root"));
        let forged = &load_certificates(&impostor.path("server.crt")).unwrap()[0];
        assert!(verify(forged, &[], "root", "localhost", now).is_err(), "{flag}");
    }
    // Its purpose counts where the certificate is itself trusted, too.
    folder.certify("server", &format!("{SAN}{CA}\nextendedKeyUsage=clientAuth"), None);
    assert!(verify(&read("server")[0], &[], "server", "localhost", now).is_err());
}
