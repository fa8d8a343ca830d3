//! Keeps the certificate of a refused client for the log: rustls returns only the reason, and drops
//! the certificate with the connection.

use std::cell::RefCell;

use kes_api::Identity;
use rustls::pki_types::CertificateDer;

/// What the log tells of a refused certificate.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    /// Its subject; the client chose it.
    pub(crate) subject: String,
    /// The identity that it would have given.
    pub(crate) identity: Option<Identity>,
    /// When it is valid, if that could be read.
    pub(crate) validity: Option<kes_tls::Validity>,
}

tokio::task_local! {
    static REFUSED: RefCell<Option<Refused>>;
}

/// Keeps a certificate for the handshake that this task runs.
pub(super) fn keep(certificate: &CertificateDer<'_>) {
    let _ = REFUSED.try_with(|refused| {
        *refused.borrow_mut() = Some(Refused {
            subject: kes_tls::subject(certificate).unwrap_or_default(),
            identity: Identity::of_certificate(certificate).ok(),
            validity: kes_tls::validity(certificate).ok(),
        });
    });
}

/// Runs a handshake; returns its result and the certificate that was refused in it.
pub(crate) async fn during<T>(handshake: impl Future<Output = T>) -> (T, Option<Refused>) {
    REFUSED
        .scope(RefCell::new(None), async {
            let result = handshake.await;
            (result, REFUSED.with(RefCell::take))
        })
        .await
}
