use std::error::Error;
use std::sync::Arc;

use kes_tls::Roots;
use rustls::ClientConfig;

use crate::OpenError;
use crate::config::{ConfiguredPath, VaultTls};
use crate::remote::tls::Named;

/// The TLS of connections to Vault: the CAs of the configuration or the system's, and a client
/// certificate if there is one. Also loaded for plain HTTP, which does not use it.
pub(super) fn load(config: &VaultTls) -> Result<ClientConfig, OpenError> {
    let mut verifier = match (&config.ca, &config.ca_pem) {
        (None, Some(pem)) => kes_tls::server_verifier_of_pem(pem.as_bytes())
            .map_err(|fault| unusable_text(format!("VAULT_CACERT_BYTES: {fault}")))?,
        (ca, _) => {
            let mode = if ca.is_some() { Roots::Only } else { Roots::AndSystem };
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
    Ok(tls)
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
