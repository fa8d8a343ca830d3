use std::error::Error;
use std::sync::Arc;
use std::time::SystemTime;

use kes_tls::Roots;
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;

use crate::config::{ConfiguredPath, VaultTls};
use crate::remote::tls::Named;
use crate::{CertificateEnds, OpenError};

/// The TLS of connections to Vault: the CAs of the configuration or the system's, and a client
/// certificate if there is one, and when these expire. Also loaded for plain HTTP, which does not use
/// it.
pub(super) fn load(config: &VaultTls) -> Result<(ClientConfig, CertificateEnds), OpenError> {
    let mut ends = CertificateEnds::default();
    let mut verifier = match (&config.ca, &config.ca_pem) {
        (None, Some(pem)) => {
            ends.ca = kes_tls::parse_certificates(pem.as_bytes()).ok().and_then(|cas| end(&cas));
            kes_tls::server_verifier_of_pem(pem.as_bytes())
                .map_err(|fault| unusable_text(format!("VAULT_CACERT_BYTES: {fault}")))?
        }
        (ca, _) => {
            let mode = if ca.is_some() { Roots::Only } else { Roots::AndSystem };
            ends.ca = ca.as_ref().and_then(|ca| end(&kes_tls::load_authorities(ca).ok()?));
            // A self-signed certificate that `tls.ca` names is accepted, as by other TLS libraries.
            kes_tls::server_verifier(ca.as_deref(), mode)
                .map_err(|error| unusable(ca.as_ref(), &error))?
        }
    };
    if let Some(name) = &config.server_name {
        verifier = Arc::new(Named { verifier, name: name.0.clone() });
    }
    #[expect(clippy::expect_used, reason = "the provider knows both versions")]
    let builder = ClientConfig::builder_with_provider(kes_tls::provider())
        .with_safe_default_protocol_versions()
        .expect("the provider knows TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut tls = match &config.client {
        None => builder.with_no_client_auth(),
        Some((key, certificate)) => {
            let chain = kes_tls::load_certificates(certificate)
                .map_err(|error| unusable(Some(certificate), &error))?;
            ends.client = end(chain.get(..1).unwrap_or_default());
            let private_key = kes_tls::load_private_key(key, None)
                .map_err(|error| unusable(Some(key), &error))?;
            let pair = kes_tls::match_key(&chain, &private_key).map_err(|fault| {
                let (certificate, key) = (certificate.to_path_buf(), key.to_path_buf());
                let error = kes_tls::Error::Pair { certificate, key, fault };
                unusable(config.client.as_ref().map(|(key, _)| key), &error)
            })?;
            builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(pair)))
        }
    };
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((tls, ends))
}

/// When the first of some certificates expires, of those that have not; if all have, the last.
fn end(certificates: &[CertificateDer<'_>]) -> Option<SystemTime> {
    let now = SystemTime::now();
    let ends = || certificates.iter().filter_map(|one| Some(kes_tls::validity(one).ok()?.until));
    ends().filter(|end| *end > now).min().or_else(|| ends().max())
}

/// The error of a file that cannot be used: the place where the configuration names it, and the
/// whole chain of causes, because the last ones say what to repair.
fn unusable(path: Option<&ConfiguredPath>, error: &dyn Error) -> OpenError {
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        reason.push_str(": ");
        reason.push_str(&next.to_string());
        cause = next.source();
    }
    match path {
        Some(path) => OpenError::File { path: path.clone(), reason },
        None => unusable_text(reason),
    }
}

fn unusable_text(reason: String) -> OpenError {
    OpenError::Remote { product: super::PRODUCT, reason }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kes_testkit::SelfSigned;

    use super::*;

    #[test]
    fn of_several_the_first_that_still_holds_is_told() {
        let now = SystemTime::UNIX_EPOCH
            + Duration::from_secs(
                SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs(),
            );
        let day = Duration::from_secs(24 * 60 * 60);
        let until = |end| {
            let made = SelfSigned::builder(&["ca"]).valid(now - day * 90, end).make();
            CertificateDer::from(made.certificate)
        };
        let [long_over, over, soon, later] =
            [now - day * 9, now - day, now + day, now + day * 9].map(until);
        assert_eq!(end(&[]), None);
        assert_eq!(end(&[long_over.clone(), over.clone()]), Some(now - day));
        assert_eq!(end(&[later, long_over, soon, over]), Some(now + day));
    }
}
