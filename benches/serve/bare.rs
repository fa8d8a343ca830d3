//! The limit: axum, hyper and rustls, answering a constant.

use std::convert::Infallible;
use std::sync::{Arc, LazyLock};

use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::{Router, routing};
use http_body_util::BodyExt as _;
use hyper::body::Bytes;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Set in the process that is to be the bare server: the folder of its key and certificate.
pub(crate) const ENV: &str = "KES_BENCH_BARE";

/// Serves until it is killed.
pub(crate) fn serve() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(tls()));
        let router = Router::new().fallback(routing::any(answer));
        println!("https://{}", listener.local_addr().unwrap());
        loop {
            let Ok((socket, _)) = listener.accept().await else { continue };
            let (acceptor, router) = (acceptor.clone(), router.clone());
            tokio::spawn(async move {
                let _ = socket.set_nodelay(true);
                let Ok(tls) = acceptor.accept(socket).await else { return };
                let is_h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
                let service = TowerToHyperService::new(router);
                let io = TokioIo::new(tls);
                if is_h2 {
                    let _ = http2::Builder::new(TokioExecutor::new())
                        .max_concurrent_streams(256)
                        .serve_connection(io, service)
                        .await;
                } else {
                    let _ = http1::Builder::new().serve_connection(io, service).await;
                }
            });
        }
    });
}

/// Answers of the sizes that ours have.
async fn answer(request: Request) -> Result<Response, Infallible> {
    const GENERATE: &str = r#"{"plaintext":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","ciphertext":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="}"#;
    const DECRYPT: &str = r#"{"plaintext":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}"#;
    const ENCRYPT: &str = r#"{"ciphertext":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="}"#;
    const DESCRIBE: &str = r#"{"name":"bench","algorithm":"AES256","created_at":"2026-11-22T08:24:41.123456789Z","created_by":"0000000000000000000000000000000000000000000000000000000000000000","fingerprint":"00000000000000000000000000000000"}"#;
    let path = request.uri().path();
    let answer = match path {
        _ if path.contains("/generate/") => GENERATE,
        _ if path.contains("/decrypt/") => DECRYPT,
        _ if path.contains("/encrypt/") => ENCRYPT,
        _ => DESCRIBE,
    };
    let asked = request.into_body().collect().await.map(|body| body.to_bytes().len());
    let is_large = asked.is_ok_and(|len| len > LARGE.len() / 2);
    let body = if is_large { Body::from(LARGE.clone()) } else { Body::from(answer) };
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// The answer to a plaintext of 700 kB: a ciphertext of 60 bytes more, in base64.
static LARGE: LazyLock<Bytes> = LazyLock::new(|| {
    let ciphertext = "A".repeat((700_000_usize + 60).div_ceil(3) * 4);
    format!(r#"{{"ciphertext":"{ciphertext}"}}"#).into()
});

fn tls() -> ServerConfig {
    let folder = std::env::var(ENV).unwrap();
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(format!("{folder}/server.crt"))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
    let key = PrivateKeyDer::from_pem_file(format!("{folder}/server.key")).unwrap();
    let provider = kes_tls::provider();
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(Arc::new(Any(provider)))
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

/// Any client certificate, its possession proven, as ours does.
#[derive(Debug)]
struct Any(Arc<CryptoProvider>);

impl ClientCertVerifier for Any {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
