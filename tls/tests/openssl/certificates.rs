//! What is read out of certificates, and what is told of damaged files.

use kes_tls::{
    Fault, check_server_certificate, load_certificates, load_certified_key, load_private_key,
    validity,
};

use crate::folder::{ED25519, Folder, RSA};

#[test]
fn damaged_files_are_told_with_their_name() {
    let folder = Folder::new();
    folder.pair("rsa", RSA);
    let key = String::from_utf8(folder.read("rsa.key")).unwrap();
    let lines: Vec<_> = key.lines().collect();

    let no_end = lines[..lines.len() / 2].join("\n");
    let no_middle = [&lines[..8], &lines[12..]].concat().join("\n");
    let not_base64 = key.replacen(&lines[5][..4], "%%%%", 1);
    let certificate = String::from_utf8(folder.read("rsa.crt")).unwrap();
    for (content, text) in [
        (no_end.as_str(), "the PEM section 'PRIVATE KEY' has no end"),
        (&no_middle, "the private key is damaged"),
        (&not_base64, "the PEM section 'PRIVATE KEY' is damaged: it is not base64"),
        ("", "holds no private key in PEM form"),
        (&certificate, "holds no private key in PEM form"),
        (&"x".repeat(1024 * 1024 + 1), "is larger than 1024 KiB"),
    ] {
        let path = folder.write("broken.pem", content);
        let error = load_private_key(&path, None).err().unwrap().to_string();
        assert!(error.contains(text) && error.contains("broken.pem"), "{error}");
        for line in &lines[1..lines.len() - 1] {
            assert!(!error.contains(line), "the error holds a line of the key");
        }
    }
    let missing = load_private_key(&folder.path("missing.pem"), None).err().unwrap().to_string();
    assert!(missing.contains("missing.pem: cannot be read: No such file"), "{missing}");

    let lines: Vec<_> = certificate.lines().collect();
    let cut = [&lines[..4], &lines[5..]].concat().join("\n");
    let both = format!("{certificate}{cut}\n");
    for (content, text) in [
        (both.as_str(), "certificate number 2 is damaged"),
        (&key, "holds no certificate in PEM form"),
        (&lines[..5].join("\n"), "the PEM section 'CERTIFICATE' has no end"),
    ] {
        let path = folder.write("broken.crt", content);
        let error = load_certificates(&path).unwrap_err().to_string();
        assert!(error.contains(text) && error.contains("broken.crt"), "{error}");
    }
}

#[test]
fn a_server_certificate_needs_a_name_or_an_address() {
    let folder = Folder::new();
    folder.run_with(&["genpkey", "-algorithm", "ED25519", "-out", "key.pem"]);
    for (names, good) in [
        (Some("DNS:localhost"), true),
        (Some("IP:127.0.0.1"), true),
        (Some("email:a@b.c,IP:::1"), true),
        (Some("email:a@b.c"), false),
        (None, false),
    ] {
        let extension = names.map(|names| format!("subjectAltName={names}"));
        let mut arguments = vec![
            "req",
            "-x509",
            "-new",
            "-key",
            "key.pem",
            "-out",
            "c.pem",
            "-subj",
            "/CN=localhost",
        ];
        if let Some(extension) = &extension {
            arguments.extend(["-addext", extension]);
        }
        folder.run_with(&arguments);
        let chain = load_certificates(&folder.path("c.pem")).unwrap();
        let result = check_server_certificate(&chain[0]);
        assert_eq!(result.is_ok(), good, "{names:?}");
    }
}

#[test]
fn a_certificate_tells_when_it_holds() {
    const DAY: u64 = 24 * 60 * 60;
    let folder = Folder::new();
    folder.pair("short", ED25519);
    // Beyond 2049 times are written in another form.
    folder.run_with(&[
        "req",
        "-x509",
        "-key",
        "short.key",
        "-out",
        "long.crt",
        "-subj",
        "/CN=test",
        "-days",
        "40000",
    ]);
    // X.509 v1 has one field less before the times.
    folder.run_with(&["req", "-new", "-key", "short.key", "-out", "old.csr", "-subj", "/CN=test"]);
    folder.run_with(&[
        "x509",
        "-req",
        "-in",
        "old.csr",
        "-signkey",
        "short.key",
        "-out",
        "old.crt",
        "-days",
        "7",
    ]);
    for (name, days) in [("short", 1), ("long", 40_000), ("old", 7)] {
        let chain = load_certificates(&folder.path(&format!("{name}.crt"))).unwrap();
        let validity = validity(&chain[0]).unwrap();
        assert_eq!(validity.until.duration_since(validity.from).unwrap().as_secs(), days * DAY);
        assert!(validity.from.elapsed().unwrap().as_secs() < 600, "{name}: {validity:?}");
    }
}

#[test]
fn a_certificate_of_the_first_version_is_matched_with_its_key() {
    let folder = Folder::new();
    folder.run_with(&[
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-out",
        "key.pem",
    ]);
    folder.run_with(&["req", "-new", "-key", "key.pem", "-out", "c.csr", "-subj", "/CN=old"]);
    folder.run_with(&["x509", "-req", "-in", "c.csr", "-signkey", "key.pem", "-out", "c.pem"]);
    load_certified_key(&folder.path("c.pem"), &folder.path("key.pem"), None).unwrap();
    let chain = load_certificates(&folder.path("c.pem")).unwrap();
    assert!(matches!(check_server_certificate(&chain[0]), Err(Fault::NoServerName)));
}
