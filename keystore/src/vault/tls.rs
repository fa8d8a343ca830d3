use std::sync::Arc;

use kes_tls::Roots;
use rustls::ClientConfig;

use crate::OpenError;
use crate::config::VaultTls;

/// The TLS of connections to Vault: the CAs of the configuration or the system's, and a client
/// certificate if there is one. Also for plain HTTP, where it has no meaning.
pub(super) fn load(config: &VaultTls) -> Result<ClientConfig, OpenError> {
    let mode = if config.ca.is_some() { Roots::Only } else { Roots::AndSystem };
    let roots =
        kes_tls::load_roots(config.ca.as_deref(), mode).map_err(|error| unusable(&error))?;
    let builder = ClientConfig::builder_with_provider(kes_tls::provider())
        .with_safe_default_protocol_versions()
        .expect("the provider knows TLS 1.2 and 1.3")
        .with_root_certificates(roots);
    let mut tls = match &config.client {
        None => builder.with_no_client_auth(),
        Some((key, certificate)) => {
            let pair = kes_tls::load_certified_key(certificate, key, None)
                .map_err(|error| unusable(&error))?;
            builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(pair)))
        }
    };
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(tls)
}

/// The whole chain of causes: the texts of the causes name what to repair.
fn unusable(error: &dyn std::error::Error) -> OpenError {
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        reason.push_str(": ");
        reason.push_str(&next.to_string());
        cause = next.source();
    }
    OpenError::Vault { reason }
}
