use kes_api::Identity;
use kes_client::ApiKey;
use kes_tls::{Fault, PrivateKey, is_encrypted, parse_certificates, parse_private_key};

/// An API key: what is accepted has one text, and a certificate of its identity.
pub(crate) fn api_key(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(key) = ApiKey::parse(text) else { return };
    let shown = key.expose();
    assert!(text.trim().ends_with(&shown["kes:v1:".len()..]), "it is written in another way");
    let again = ApiKey::parse(&shown).expect("it was written");
    assert_eq!((again.identity(), &*again.expose()), (key.identity(), &*shown));

    let (certificate, private) = key.certificate().expect("a certificate");
    assert_eq!(Identity::of_certificate(&certificate), Ok(key.identity()));
    let again = ApiKey::from_pkcs8(&private).expect("it is an Ed25519 key");
    assert_eq!(*again.expose(), *shown);
}

/// A PEM file with a private key, certificates, or both.
pub(crate) fn pem(data: &[u8]) {
    if let Ok(certificates) = parse_certificates(data) {
        assert!(!certificates.is_empty());
    }
    let plain = parse_private_key(data, None);
    let is_encrypted = is_encrypted(data);
    match &plain {
        Ok(key) => check_key(key),
        Err(Fault::MissingPassword) => assert!(is_encrypted, "a password is asked for"),
        Err(fault) => assert!(!fault.to_string().is_empty()),
    }
    if is_encrypted {
        // With the feature `fips` every encrypted key is refused, with or without its password.
        let missing = matches!(plain, Err(Fault::MissingPassword));
        assert!(missing || kes_tls::is_fips(), "a password is asked for in vain");
        if let Ok(key) = parse_private_key(data, Some("password")) {
            check_key(&key);
        }
    }
}

/// A key that is written is read back to the same.
fn check_key(key: &PrivateKey) {
    let pem = key.to_pem(None).expect("it is not encrypted");
    let again = parse_private_key(pem.as_bytes(), None).expect("it was written");
    assert!(again.expose() == key.expose(), "another key");
    assert_eq!(again.ed25519_seed().is_some(), key.ed25519_seed().is_some());
}
