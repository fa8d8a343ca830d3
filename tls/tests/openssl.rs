//! Keys and certificates as `openssl` makes them: each form is read, and what is wrong is told.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kes_tls::{
    Error, Fault, Roots, check_server_certificate, is_encrypted, load_certificates,
    load_certified_key, load_private_key, load_roots, match_key, parse_certificates,
    parse_private_key, server_verifier, validity,
};
use proptest::prelude::*;
use rustls_pki_types::{ServerName, UnixTime};
use tempfile::TempDir;

const PASSWORD: &str = "correct horse";
const PASSOUT: &str = "pass:correct horse";

/// A folder for keys; the commands run in it.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::new().expect("a temporary folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).expect("the file stands")
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(name), content).expect("the folder is writable");
        self.path(name)
    }

    fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .output()
            .expect("openssl is installed");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments:?}: {stderr}");
    }

    /// A private key in PKCS#8, `<name>.key`, and a self-signed certificate, `<name>.crt`.
    fn pair(&self, name: &str, algorithm: &[&str]) {
        let (key, certificate) = (format!("{name}.key"), format!("{name}.crt"));
        self.openssl(&[&["genpkey", "-out", &key], algorithm].concat());
        self.openssl(&[
            "req",
            "-x509",
            "-new",
            "-key",
            &key,
            "-out",
            &certificate,
            "-subj",
            "/CN=test",
            "-days",
            "1",
            "-addext",
            "subjectAltName=DNS:localhost",
        ]);
    }

    /// A private key and a certificate with these extensions, of X.509 v1 without any; signed by
    /// the pair `issuer`, or by itself.
    fn certify(&self, name: &str, extensions: &str, issuer: Option<&str>) {
        let [key, request, certificate, config] =
            ["key", "csr", "crt", "cnf"].map(|end| format!("{name}.{end}"));
        self.openssl(&[&["genpkey", "-out", &key], P256].concat());
        let subject = format!("/CN={name}");
        self.openssl(&["req", "-new", "-key", &key, "-subj", &subject, "-out", &request]);
        self.write(&config, extensions);
        let signer = issuer.unwrap_or(name);
        let (ca, ca_key) = (format!("{signer}.crt"), format!("{signer}.key"));
        let signed = match issuer {
            Some(_) => vec!["-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial"],
            None => vec!["-signkey", &key],
        };
        let mut arguments = vec!["x509", "-req", "-in", &request, "-days", "1"];
        arguments.extend(signed);
        if !extensions.is_empty() {
            arguments.extend(["-extfile", &config]);
        }
        arguments.extend(["-out", &certificate]);
        self.openssl(&arguments);
    }
}

const RSA: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
const P256: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
const P384: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"];
const P521: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"];
const ED25519: &[&str] = &["-algorithm", "ED25519"];

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
        folder.openssl(&[&[tool, "-in", &key, "-out", "plain.pem"], traditional].concat());
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
            folder.openssl(&[&encrypt, traditional].concat());
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
            folder.openssl(&[&arguments, options].concat());
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
    folder.openssl(&[
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
    folder.openssl(&[
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
    folder.openssl(&[
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
    folder.openssl(&["genpkey", "-algorithm", "X25519", "-out", "x25519.pem"]);
    folder.openssl(&[
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

#[test]
fn key_and_certificates_may_share_a_file() {
    let folder = Folder::new();
    folder.pair("one", P256);
    folder.pair("two", RSA);
    folder.openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-out", "with-parameters.pem"]);
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
    folder.openssl(&["genpkey", "-algorithm", "ED25519", "-out", "key.pem"]);
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
        folder.openssl(&arguments);
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
    folder.openssl(&[
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
    folder.openssl(&["req", "-new", "-key", "short.key", "-out", "old.csr", "-subj", "/CN=test"]);
    folder.openssl(&[
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
    folder.openssl(&[
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-out",
        "key.pem",
    ]);
    folder.openssl(&["req", "-new", "-key", "key.pem", "-out", "c.csr", "-subj", "/CN=old"]);
    folder.openssl(&["x509", "-req", "-in", "c.csr", "-signkey", "key.pem", "-out", "c.pem"]);
    load_certified_key(&folder.path("c.pem"), &folder.path("key.pem"), None).unwrap();
    let chain = load_certificates(&folder.path("c.pem")).unwrap();
    assert!(matches!(check_server_certificate(&chain[0]), Err(Fault::NoServerName)));
}

#[test]
fn what_is_encrypted_here_openssl_reads() {
    let folder = Folder::new();
    folder.pair("p256", P256);
    let key = load_private_key(&folder.path("p256.key"), None).unwrap();
    let encrypted = key.to_pem(Some(PASSWORD)).unwrap();
    let path = folder.write("encrypted.pem", encrypted.as_bytes());
    assert!(is_encrypted(encrypted.as_bytes()));
    folder.openssl(&["pkey", "-in", "encrypted.pem", "-passin", PASSOUT, "-out", "again.key"]);
    assert_eq!(folder.read("again.key"), folder.read("p256.key"));

    let chain = load_certificates(&folder.path("p256.crt")).unwrap();
    match_key(&chain, &load_private_key(&path, Some(PASSWORD)).unwrap()).unwrap();
    let again = key.to_pem(Some(PASSWORD)).unwrap();
    assert_ne!(*again, *encrypted, "salt and initialization vector are fresh");

    // As plain text it is what openssl wrote.
    assert_eq!(key.to_pem(None).unwrap().as_bytes(), folder.read("p256.key"));
}

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

#[test]
fn the_seed_of_an_ed25519_key_is_found() {
    let folder = Folder::new();
    folder.openssl(&["genpkey", "-algorithm", "ED25519", "-out", "ed.pem"]);
    folder.openssl(&["pkey", "-in", "ed.pem", "-out", "ed.der", "-outform", "DER"]);
    let key = load_private_key(&folder.path("ed.pem"), None).unwrap();
    let der = folder.read("ed.der");
    assert_eq!(key.ed25519_seed().unwrap().as_slice(), &der[der.len() - 32..]);
    folder.openssl(&[&["genpkey", "-out", "ec.pem"], P256].concat());
    assert!(load_private_key(&folder.path("ec.pem"), None).unwrap().ed25519_seed().is_none());
}

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

/// Texts with every form of key, to be changed at random.
fn corpus() -> &'static [Vec<u8>] {
    static CORPUS: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
    CORPUS.get_or_init(|| {
        let folder = Folder::new();
        folder.pair("p256", P256);
        folder.openssl(&[
            "ec", "-aes128", "-in", "p256.key", "-out", "sec1.pem", "-passout", PASSOUT,
        ]);
        folder.openssl(&[
            "pkcs8",
            "-topk8",
            "-in",
            "p256.key",
            "-out",
            "pkcs8.pem",
            "-passout",
            PASSOUT,
            "-iter",
            "1",
        ]);
        folder.openssl(&[
            "pkcs8", "-topk8", "-in", "p256.key", "-out", "des3.pem", "-passout", PASSOUT, "-iter",
            "1", "-v2", "des3",
        ]);
        folder.openssl(&[
            "pkcs8",
            "-topk8",
            "-in",
            "p256.key",
            "-out",
            "scrypt.pem",
            "-passout",
            PASSOUT,
            "-scrypt",
            "-scrypt_N",
            "2",
        ]);
        ["p256.key", "p256.crt", "sec1.pem", "pkcs8.pem", "des3.pem", "scrypt.pem"]
            .map(|name| folder.read(name))
            .to_vec()
    })
}

proptest! {
    #[test]
    fn changed_text_is_read_or_refused(
        which in 0_usize..6,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        from_the_cut in any::<bool>(),
    ) {
        let mut pem = corpus()[which].clone();
        for (index, byte) in changes {
            let index = index.index(pem.len());
            pem[index] = byte;
        }
        let cut = cut.index(pem.len());
        let pem = if from_the_cut { &pem[cut / 8..] } else { &pem[..pem.len() - cut / 8] };
        is_encrypted(pem);
        if let Err(fault) = parse_private_key(pem, Some(PASSWORD)) {
            let _ = fault.to_string();
        }
        let _ = parse_certificates(pem);
    }

    /// Below the base64, where the parsers of DER are.
    #[test]
    fn changed_der_is_read_or_refused(
        which in 0_usize..6,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        use base64ct::{Base64, Encoding};

        let text = String::from_utf8(corpus()[which].clone()).unwrap();
        let digits: String = text.lines().filter(|line| !line.contains(['-', ':'])).collect();
        let mut der = Base64::decode_vec(&digits).unwrap();
        for (index, byte) in changes {
            let index = index.index(der.len());
            der[index] = byte;
        }
        if let Some(cut) = cut {
            der.truncate(cut.index(der.len()));
        }
        let headers: Vec<_> = text.lines().filter(|line| line.contains(':')).collect();
        let begin = text.lines().next().unwrap();
        let end = begin.replace("BEGIN", "END");
        let pem = format!("{begin}\n{}\n{}\n{end}\n", headers.join("\n"), Base64::encode_string(&der));
        let _ = parse_private_key(pem.as_bytes(), Some(PASSWORD));
        let _ = parse_certificates(pem.as_bytes()).map(|chain| {
            let _ = validity(&chain[0]);
            check_server_certificate(&chain[0])
        });
    }
}
