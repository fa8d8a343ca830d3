//! The certificate of a client that was not let in: the handshake's error names the reason alone,
//! and the certificate is gone with the connection.

use std::cell::RefCell;

use kes_api::Identity;
use rustls::pki_types::CertificateDer;

/// What is told of a refused certificate.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    /// Its subject; the client chose it.
    pub(crate) subject: String,
    /// The identity that it would have had.
    pub(crate) identity: Option<Identity>,
    /// The days on which it holds, where it says so.
    pub(crate) validity: Option<kes_tls::Validity>,
}

tokio::task_local! {
    static REFUSED: RefCell<Option<Refused>>;
}

/// Notes a certificate for the handshake that this task runs.
pub(super) fn note(certificate: &CertificateDer<'_>) {
    let _ = REFUSED.try_with(|refused| {
        *refused.borrow_mut() = Some(Refused {
            subject: kes_tls::subject(certificate).unwrap_or_default(),
            identity: Identity::of_certificate(certificate).ok(),
            validity: kes_tls::validity(certificate).ok(),
        });
    });
}

/// Runs a handshake, and returns with its result the certificate that was refused in it.
pub(crate) async fn watch<T>(handshake: impl Future<Output = T>) -> (T, Option<Refused>) {
    REFUSED
        .scope(RefCell::new(None), async {
            let result = handshake.await;
            (result, REFUSED.with(RefCell::take))
        })
        .await
}
