use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use kes_api::Identity;
use kes_api::certificate::Certificate;
use kes_api::identity::NoIdentity;
use kes_tls::ClientChains;
use rustls::client::danger::ServerCertVerifier;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::EndEntityCert;

/// A certificate in DER: the fields that the server reads, beside those that webpki reads.
pub(crate) fn certificate(data: &[u8]) {
    let der = CertificateDer::from(data);
    if let Some(subject) = kes_tls::subject(data) {
        assert!(subject.chars().count() <= 201, "{subject}");
    }
    let _ = kes_tls::check_server_certificate(&der);
    let _ =
        kes_tls::validity(&der).map(|validity| validity.life(std::time::SystemTime::UNIX_EPOCH));

    let Ok(certificate) = Certificate::parse(data) else {
        assert_eq!(Identity::of_peer([data]), Err(NoIdentity::Missing));
        return;
    };
    let identity = Identity::of_public_key(certificate.public_key());
    assert_eq!(Identity::of_certificate(data), Ok(identity));
    let of_peer = if certificate.is_ca() { Err(NoIdentity::Missing) } else { Ok(identity) };
    assert_eq!(Identity::of_peer([data]), of_peer);
    if let Ok(theirs) = EndEntityCert::try_from(&der) {
        assert_eq!(certificate.public_key(), theirs.subject_public_key_info().as_ref());
    }
    // It is the whole input, and not less.
    assert!(Certificate::parse(&data[..data.len() - 1]).is_err());
    assert!(Certificate::parse(&[data, &[0]].concat()).is_err());
}

/// Certificates that the CA of the tests signed with Ed25519, and who may show them. Its private key
/// exists no more.
const SIGNED: [(&[u8], Role); 5] = [
    (include_bytes!("../testdata/client.der"), Role { client: true, server: false }),
    (include_bytes!("../testdata/client-v1.der"), Role { client: true, server: false }),
    (include_bytes!("../testdata/server.der"), Role { client: false, server: true }),
    (include_bytes!("../testdata/server-marked-ca.der"), Role { client: false, server: true }),
    (include_bytes!("../testdata/ca.der"), Role { client: false, server: false }),
];

/// Who may show a certificate.
struct Role {
    client: bool,
    server: bool,
}

/// Both verifiers trust the same CA.
struct Verifiers {
    client: ClientChains,
    server: Arc<dyn ServerCertVerifier>,
}

static VERIFIERS: LazyLock<Verifiers> = LazyLock::new(|| {
    let ca = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/ca.pem"));
    let pem = include_bytes!("../testdata/ca.pem");
    Verifiers {
        client: ClientChains::load(Some(ca)).expect("a CA"),
        server: kes_tls::server_verifier_of_pem(pem).expect("a CA"),
    }
});

/// A certificate that is verified: nothing is accepted but what the CA signed, byte for byte,
/// although certificates are rewritten for the library that verifies them.
pub(crate) fn chain(data: &[u8]) {
    // 2033-05-18, within the dates of the certificates.
    let now = UnixTime::since_unix_epoch(Duration::from_secs(2_000_000_000));
    let der = CertificateDer::from(data);
    let name = ServerName::try_from("kes.example").expect("a name");
    let is_client = VERIFIERS.client.verify(&der, &[], now).is_ok();
    let is_server = VERIFIERS.server.verify_server_cert(&der, &[], &name, &[], now).is_ok();
    let role = SIGNED.iter().find(|(signed, _)| *signed == data).map(|(_, role)| role);
    assert_eq!(is_client, role.is_some_and(|role| role.client), "client");
    assert_eq!(is_server, role.is_some_and(|role| role.server), "server");
}
