//! Private keys in all their forms.

use kes_tls::{
    Error, Fault, is_encrypted, load_certificates, load_certified_key, load_private_key, match_key,
    parse_private_key,
};

use crate::folder::{ED25519, Folder, P256, P384, P521, PASSOUT, PASSWORD, RSA};

fn refusal(result: Result<kes_tls::PrivateKey, Error>) -> Fault {
    match result {
        Err(Error::File { fault, .. }) => fault,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("the key was taken"),
    }
}

#[test]
fn every_kind_of_key_belongs_to_its_certificate_alone() {
    let folder = Folder::new();
    let kinds = [("rsa", RSA), ("p256", P256), ("p384", P384), ("p521", P521), ("ed", ED25519)];
    for (name, algorithm) in kinds {
        folder.pair(name, algorithm);
    }
    for (name, _) in kinds {
        let key = folder.path(&format!("{name}.key"));
        for (other, _) in kinds {
            let certificate = folder.path(&format!("{other}.crt"));
            match load_certified_key(&certificate, &key, None) {
                Ok(certified) => {
                    assert_eq!(name, other);
                    certified.keys_match().unwrap();
                }
                Err(error) => {
                    assert_ne!(name, other, "{error}");
                    let text = error.to_string();
                    assert!(text.contains("does not belong to the certificate"), "{text}");
                    assert!(text.contains(key.to_str().unwrap()), "{text}");
                    assert!(text.contains(certificate.to_str().unwrap()), "{text}");
                }
            }
        }
    }

    // Another key of the same kind.
    folder.pair("rsa2", RSA);
    let mixed = load_certified_key(&folder.path("rsa.crt"), &folder.path("rsa2.key"), None);
    assert!(matches!(mixed, Err(Error::Pair { fault: Fault::Mismatch, .. })));
}

#[test]
fn traditional_forms_are_read_with_all_their_ciphers() {
    let folder = Folder::new();
    for (name, algorithm, tool) in [("rsa", RSA, "rsa"), ("p256", P256, "ec"), ("p521", P521, "ec")]
    {
        folder.pair(name, algorithm);
        let key = format!("{name}.key");
        let chain = load_certificates(&folder.path(&format!("{name}.crt"))).unwrap();

        let traditional: &[&str] = if tool == "rsa" { &["-traditional"] } else { &[] };
        folder.run_with(&[&[tool, "-in", &key, "-out", "plain.pem"], traditional].concat());
        let pem = folder.read("plain.pem");
        assert!(pem.starts_with(b"-----BEGIN RSA PRIVATE") || pem.starts_with(b"-----BEGIN EC P"));
        assert!(!is_encrypted(&pem));
        match_key(&chain, &parse_private_key(&pem, None).unwrap()).unwrap();
        // A password that is not needed does no harm.
        parse_private_key(&pem, Some(PASSWORD)).unwrap();

        for (cipher, dek_info) in [
            ("-des", "DES-CBC"),
            ("-des3", "DES-EDE3-CBC"),
            ("-aes128", "AES-128-CBC"),
            ("-aes192", "AES-192-CBC"),
            ("-aes256", "AES-256-CBC"),
        ] {
            let encrypt = [
                tool,
                cipher,
                "-in",
                &key,
                "-out",
                "encrypted.pem",
                "-passout",
                PASSOUT,
                "-provider",
                "legacy",
                "-provider",
                "default",
            ];
            folder.run_with(&[&encrypt, traditional].concat());
            let path = folder.path("encrypted.pem");
            let pem = folder.read("encrypted.pem");
            assert!(String::from_utf8_lossy(&pem).contains(&format!("DEK-Info: {dek_info},")));
            assert!(is_encrypted(&pem));
            match_key(&chain, &load_private_key(&path, Some(PASSWORD)).unwrap()).unwrap();

            for absent in [None, Some("")] {
                let fault = refusal(load_private_key(&path, absent));
                assert!(matches!(fault, Fault::MissingPassword), "{fault}");
            }
            // Many, as each has a chance of 1 in 256 to meet a right padding.
            for wrong in 0..300 {
                let wrong = format!("wrong {wrong}");
                let fault = refusal(load_private_key(&path, Some(&wrong)));
                assert!(matches!(fault, Fault::WrongPassword), "{fault}");
            }
        }
    }
}

#[test]
fn encrypted_pkcs8_is_read() {
    let folder = Folder::new();
    folder.pair("p256", P256);
    folder.pair("ed", ED25519);
    for name in ["p256", "ed"] {
        let chain = load_certificates(&folder.path(&format!("{name}.crt"))).unwrap();
        for options in [
            &["-v2", "aes-256-cbc"] as &[&str],
            &["-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA512"],
            &["-v2", "aes-192-cbc"],
            &["-v2", "des3", "-v2prf", "hmacWithSHA1"],
            &["-scrypt"],
        ] {
            let key = format!("{name}.key");
            let arguments = ["pkcs8", "-topk8", "-in", &key, "-out", "e.pem", "-passout", PASSOUT];
            folder.run_with(&[&arguments, options].concat());
            let path = folder.path("e.pem");
            assert!(is_encrypted(&folder.read("e.pem")));
            match_key(&chain, &load_private_key(&path, Some(PASSWORD)).unwrap()).unwrap();
            let fault = refusal(load_private_key(&path, None));
            assert!(matches!(fault, Fault::MissingPassword), "{options:?}: {fault}");
            let fault = refusal(load_private_key(&path, Some("wrong")));
            assert!(matches!(fault, Fault::WrongPassword), "{options:?}: {fault}");
        }
    }
}

#[test]
fn unknown_ciphers_and_forms_are_named() {
    let folder = Folder::new();
    folder.pair("rsa", RSA);
    folder.run_with(&[
        "pkcs8",
        "-topk8",
        "-in",
        "rsa.key",
        "-out",
        "pbes1.pem",
        "-passout",
        PASSOUT,
        "-v1",
        "PBE-SHA1-3DES",
    ]);
    folder.run_with(&[
        "rsa",
        "-traditional",
        "-camellia128",
        "-in",
        "rsa.key",
        "-out",
        "camellia.pem",
        "-passout",
        PASSOUT,
    ]);
    folder.run_with(&[
        "pkcs8",
        "-topk8",
        "-v2",
        "camellia-128-cbc",
        "-in",
        "rsa.key",
        "-out",
        "camellia8.pem",
        "-passout",
        PASSOUT,
    ]);
    folder.run_with(&["genpkey", "-algorithm", "X25519", "-out", "x25519.pem"]);
    folder.run_with(&[
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:secp256k1",
        "-out",
        "k1.pem",
    ]);
    for (file, text) in [
        ("pbes1.pem", "encrypted with 1.2.840.113549.1.12.1.3, which is not supported"),
        ("camellia.pem", "encrypted with CAMELLIA-128-CBC, which is not supported"),
        ("camellia8.pem", "encrypted with 1.2.392.200011.61.1.1.1.2, which is not supported"),
        ("x25519.pem", "not supported; supported are RSA of 2048"),
        ("k1.pem", "not supported; supported are RSA of 2048"),
        ("rsa.crt", "holds no private key in PEM form"),
    ] {
        let error = load_private_key(&folder.path(file), Some(PASSWORD)).err().unwrap().to_string();
        assert!(error.contains(text) && error.contains(file), "{error}");
    }
}

/// Nobody is asked for a password that would not help.
#[test]
fn a_form_that_is_not_supported_is_not_encrypted_either() {
    for label in ["DSA PRIVATE KEY", "OPENSSH PRIVATE KEY"] {
        let pem = format!(
            "-----BEGIN {label}-----\nProc-Type: 4,ENCRYPTED\n\
             DEK-Info: AES-128-CBC,000102030405060708090A0B0C0D0E0F\n\nAAAA\n-----END {label}-----\n"
        );
        assert!(!is_encrypted(pem.as_bytes()), "{label}");
        for password in [None, Some(PASSWORD)] {
            let fault = parse_private_key(pem.as_bytes(), password).err().unwrap();
            assert!(matches!(fault, Fault::UnsupportedKey { .. }), "{label}: {fault}");
        }
    }
}

#[test]
fn key_and_certificates_may_share_a_file() {
    let folder = Folder::new();
    folder.pair("one", P256);
    folder.pair("two", RSA);
    folder.run_with(&["ecparam", "-name", "prime256v1", "-genkey", "-out", "with-parameters.pem"]);
    let parameters = folder.read("with-parameters.pem");
    assert!(parameters.starts_with(b"-----BEGIN EC PARAMETERS"));
    parse_private_key(&parameters, None).unwrap();

    let (one, two, key) = (folder.read("one.crt"), folder.read("two.crt"), folder.read("one.key"));
    for parts in [[&one, &two, &key], [&key, &one, &two], [&one, &key, &two]] {
        let path = folder.write("all.pem", parts.map(Vec::as_slice).concat());
        let certified = load_certified_key(&path, &path, None).unwrap();
        assert_eq!(certified.cert.len(), 2);
        assert_eq!(certified.cert, load_certificates(&path).unwrap());
    }
    // The leaf has to come first.
    let path = folder.write("all.pem", [two, one, key].concat());
    assert!(load_certified_key(&path, &path, None).is_err());
}

#[test]
fn what_is_encrypted_here_openssl_reads() {
    let folder = Folder::new();
    folder.pair("p256", P256);
    let key = load_private_key(&folder.path("p256.key"), None).unwrap();
    let encrypted = key.to_pem(Some(PASSWORD)).unwrap();
    let path = folder.write("encrypted.pem", encrypted.as_bytes());
    assert!(is_encrypted(encrypted.as_bytes()));
    folder.run_with(&["pkey", "-in", "encrypted.pem", "-passin", PASSOUT, "-out", "again.key"]);
    assert_eq!(folder.read("again.key"), folder.read("p256.key"));

    let chain = load_certificates(&folder.path("p256.crt")).unwrap();
    match_key(&chain, &load_private_key(&path, Some(PASSWORD)).unwrap()).unwrap();
    let again = key.to_pem(Some(PASSWORD)).unwrap();
    assert_ne!(*again, *encrypted, "salt and initialization vector are fresh");

    // As plain text it is what openssl wrote.
    assert_eq!(key.to_pem(None).unwrap().as_bytes(), folder.read("p256.key"));
}

#[test]
fn the_seed_of_an_ed25519_key_is_found() {
    let folder = Folder::new();
    folder.run_with(&["genpkey", "-algorithm", "ED25519", "-out", "ed.pem"]);
    folder.run_with(&["pkey", "-in", "ed.pem", "-out", "ed.der", "-outform", "DER"]);
    let key = load_private_key(&folder.path("ed.pem"), None).unwrap();
    let der = folder.read("ed.der");
    assert_eq!(key.ed25519_seed().unwrap().as_slice(), &der[der.len() - 32..]);
    folder.key("ec", P256);
    assert!(load_private_key(&folder.path("ec.key"), None).unwrap().ed25519_seed().is_none());
}
