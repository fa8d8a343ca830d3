//! Where spans are sent: OTLP over HTTP, as JSON. Nothing of an answer is shown, since whoever answers
//! may repeat a header of the request.

use std::error::Error;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use kes_config::Traces;
use kes_tls::{Roots, Usage, certificate_fault};
use reqwest::redirect::Policy;
use rustls::{ClientConfig, RootCertStore};
use url::Url;

use super::otlp;

/// The time limit of a request with spans, from connecting to the last byte of the answer. A
/// collector puts them into a queue of its own and answers at once.
const LIMIT: Duration = Duration::from_secs(5);

/// That of connecting.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// An idle connection is closed after this time.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// A collector, and how it is spoken to.
pub(crate) struct Collector {
    http: reqwest::Client,
    url: Url,
    /// Scheme, host and port, for texts.
    origin: String,
    headers: HeaderMap,
}

/// Why spans were not taken. The text has nothing of the answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) reason: String,
    /// Whether the same spans may be taken later.
    pub(super) may_pass: bool,
    /// How long the collector wants to be left alone.
    pub(super) wait: Option<Duration>,
}

impl Collector {
    /// The collector of a configuration. Reads the CAs that it names.
    ///
    /// # Errors
    /// What cannot be used, with the field that names it.
    pub(crate) fn new(configured: &Traces) -> Result<Self, String> {
        let Traces { endpoint, headers, ca, sample: _ } = configured;
        #[expect(clippy::expect_used, reason = "the provider knows both versions")]
        let builder = ClientConfig::builder_with_provider(kes_tls::provider())
            .with_safe_default_protocol_versions()
            .expect("the provider knows TLS 1.2 and 1.3");
        let mut tls = if endpoint.scheme() == "https" {
            let mode = if ca.is_some() { Roots::Only } else { Roots::AndSystem };
            let verifier = kes_tls::server_verifier(ca.as_deref(), mode);
            let verifier = verifier.map_err(|error| {
                let reason = with_causes(&error);
                ca.as_ref().map_or_else(|| format!("traces: {reason}"), |ca| ca.blame(&reason))
            })?;
            builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
        } else {
            // Not used, and the client of HTTP wants one.
            builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
        };
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_backend_preconfigured(tls)
            .http1_only()
            // The headers would be sent with it.
            .redirect(Policy::none())
            .referer(false)
            .connect_timeout(CONNECT_LIMIT)
            .timeout(LIMIT)
            .tcp_nodelay(true)
            .pool_idle_timeout(IDLE_LIMIT)
            .pool_max_idle_per_host(1)
            .build()
            .map_err(|error| format!("traces: {}", reason(&error)))?;
        let mut url = endpoint.clone();
        if matches!(url.path(), "" | "/") {
            url.set_path("/v1/traces");
        }
        let mut sent = HeaderMap::with_capacity(headers.len() + 1);
        for (name, value) in headers {
            // The configuration has checked both.
            let name = HeaderName::from_bytes(name.as_bytes());
            let value = HeaderValue::from_str(value.expose());
            let (Ok(name), Ok(mut value)) = (name, value) else {
                return Err("traces.headers: not a header of HTTP".to_owned());
            };
            value.set_sensitive(true);
            sent.insert(name, value);
        }
        sent.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let origin = endpoint.origin().ascii_serialization();
        Ok(Self { http, url, origin, headers: sent })
    }

    /// Sends spans as [`otlp::encode`] writes them, and returns how many of them were rejected.
    pub(super) async fn send(&self, spans: Bytes) -> Result<u64, Fault> {
        let request = self.http.post(self.url.clone()).headers(self.headers.clone()).body(spans);
        let mut response = request.send().await.map_err(|error| self.unsent(&error))?;
        let status = response.status();
        if !status.is_success() {
            return Err(Fault {
                reason: format!("{} answered {status}", self.origin),
                may_pass: may_pass(status),
                wait: wait(response.headers()),
            });
        }
        let mut answer = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| self.unsent(&error))? {
            if answer.len() + piece.len() > otlp::MAX_ANSWER {
                return Err(self.not_otlp());
            }
            answer.extend_from_slice(&piece);
        }
        otlp::rejected(&answer).map_err(|_| self.not_otlp())
    }

    /// Sends no spans, to see whether it would take some.
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn ask(&self) -> Result<(), String> {
        let none = Bytes::from(otlp::encode(&[]));
        self.send(none).await.map(drop).map_err(|fault| fault.reason)
    }

    /// Where spans are sent, for texts.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    fn unsent(&self, error: &reqwest::Error) -> Fault {
        let Self { origin, .. } = self;
        let reason = if error.is_timeout() {
            format!("no answer from {origin} within {} s", LIMIT.as_secs())
        } else if error.is_connect() {
            format!("no connection to {origin}: {}", reason(error))
        } else {
            format!("no answer from {origin}: {}", reason(error))
        };
        Fault { reason, may_pass: true, wait: None }
    }

    /// The spans may have been taken all the same, so that they are not sent again.
    fn not_otlp(&self) -> Fault {
        let reason = format!(
            "what {} answers is not OTLP; `traces.endpoint` may lead to something else",
            self.origin
        );
        Fault { reason, may_pass: false, wait: None }
    }
}

/// The text of an error about files, with those of its causes, which say what to repair.
fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Whether spans are to be sent again after an answer (OTLP/HTTP, Retryable Response Codes).
fn may_pass(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

/// For how many seconds a collector that is busy wants to be left alone.
fn wait(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The error within an I/O error, which is not its source.
fn innermost<'e>(error: &'e (dyn Error + 'static)) -> &'e (dyn Error + 'static) {
    let mut error = error;
    while let Some(within) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        error = within;
    }
    error
}

/// Why a request failed, in words of the system or of this program: those of a library may repeat
/// what came over the network.
fn reason(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    let mut reason = "the connection failed".to_owned();
    for cause in causes {
        if let Some(tls) = innermost(cause).downcast_ref::<rustls::Error>() {
            return match tls {
                rustls::Error::InvalidCertificate(fault) => {
                    let what = certificate_fault(fault, Usage::Server);
                    format!("its certificate {what}; `traces.ca` names the CAs to trust")
                }
                _ => "the TLS handshake failed".to_owned(),
            };
        }
        if let Some(io) = innermost(cause).downcast_ref::<io::Error>() {
            reason = match io.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code).to_string(),
                None => io.kind().to_string(),
            };
        }
    }
    reason
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use kes_config::SecretText;
    use kes_testkit::faulty::{Faulty, Reply};
    use serde_json::json;

    use super::*;

    fn at(endpoint: &str) -> Collector {
        let headers = vec![("authorization".to_owned(), SecretText::new("s3cret".to_owned()))];
        let endpoint = endpoint.parse().unwrap();
        Collector::new(&Traces { endpoint, headers, ca: None, sample: 1.0 }).unwrap()
    }

    async fn sent(answer: impl Fn() -> Reply + Send + Sync + 'static) -> Result<u64, Fault> {
        let collector = Faulty::start(move |_| answer());
        at(&collector.url()).send(Bytes::from_static(b"{}")).await
    }

    #[tokio::test]
    async fn spans_are_posted_with_the_headers_of_the_configuration() {
        let collector = Faulty::start(|_| Reply::json(200, json!({})));
        for (path, expected) in [("", "/v1/traces"), ("/", "/v1/traces"), ("/a/b", "/a/b")] {
            let url = format!("{}{path}", collector.url());
            assert_eq!(at(&url).send(Bytes::from_static(b"spans")).await, Ok(0));
            let request = collector.requests().pop().unwrap();
            assert_eq!((request.method.as_str(), request.path()), ("POST", expected));
            assert_eq!(request.body, b"spans");
            assert_eq!(request.header("authorization"), Some("s3cret"));
            assert_eq!(request.header("content-type"), Some("application/json"));
        }
        assert!(at(&collector.url()).ask().await.is_ok());
    }

    #[tokio::test]
    async fn an_answer_decides_whether_spans_are_sent_again() {
        let rejected = json!({ "partialSuccess": { "rejectedSpans": "2" } });
        assert_eq!(sent(move || Reply::json(200, rejected.clone())).await, Ok(2));
        for (status, expected) in
            [(400, false), (401, false), (404, false), (429, true), (500, false), (503, true)]
        {
            let fault = sent(move || Reply::json(status, json!("s3cret"))).await.unwrap_err();
            assert_eq!(fault.may_pass, expected, "{status}");
            assert!(fault.reason.contains(&format!("answered {status}")), "{fault:?}");
        }
        let busy = || Reply::Proper {
            status: 503,
            headers: vec![("Retry-After".to_owned(), "7".to_owned())],
            body: Vec::new(),
        };
        assert_eq!(sent(busy).await.unwrap_err().wait, Some(Duration::from_secs(7)));
        for reply in [Reply::Raw(b"s3cret\r\n\r\n".to_vec()), Reply::Truncated, Reply::Reset] {
            let fault = sent(move || reply.clone()).await.unwrap_err();
            assert!(fault.may_pass && !fault.reason.contains("s3cret"), "{fault:?}");
        }
        let text = || Reply::Proper { status: 200, headers: vec![], body: b"s3cret".to_vec() };
        for fault in [sent(text).await, sent(|| Reply::Endless).await].map(Result::unwrap_err) {
            assert!(!fault.may_pass && fault.reason.contains("is not OTLP"), "{fault:?}");
            assert!(!fault.reason.contains("s3cret"), "{fault:?}");
        }
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let followed = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&followed);
        let elsewhere = Faulty::start(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            Reply::json(200, json!({}))
        });
        let url = elsewhere.url();
        let fault = sent(move || Reply::redirect(307, &url)).await.unwrap_err();
        assert!(!fault.may_pass && fault.reason.ends_with("answered 307 Temporary Redirect"));
        assert_eq!(followed.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn nobody_there_is_told_in_the_words_of_the_system() {
        let port = kes_testkit::Port::free();
        let url = format!("http://{}", port.address());
        let fault = at(&url).send(Bytes::new()).await.unwrap_err();
        assert!(fault.may_pass);
        assert!(fault.reason.starts_with(&format!("no connection to {url}: ")), "{fault:?}");
    }

    #[test]
    fn cas_that_cannot_be_read_are_told_with_their_place() {
        let configured = Traces {
            endpoint: "https://127.0.0.1:1".parse().unwrap(),
            headers: Vec::new(),
            ca: Some("/nowhere/ca.pem".into()),
            sample: 1.0,
        };
        let fault = Collector::new(&configured).err().unwrap();
        assert!(fault.contains("/nowhere/ca.pem"), "{fault}");
    }
}
