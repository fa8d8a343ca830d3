//! The client with a protocol of its own that is not that of Vault.

use std::sync::atomic::AtomicBool;

use http::{HeaderMap, HeaderValue};
use kes_testkit::faulty::{Faulty, Reply, Request as Received};
use rustls::RootCertStore;
use serde_json::json;

use super::*;
use crate::remote::known_words;

const SECRET: &str = "MARKED-secret";

/// A request with an API key. The body of an answer that is not 2xx is a text.
struct Note<'a> {
    request: Request,
    /// How many answers were received.
    answers: &'a AtomicUsize,
}

#[derive(Clone, Debug)]
struct Text(String);

impl Refusal for Text {
    fn parse(body: &[u8], name: Option<&str>) -> Self {
        let known = &["no note", "busy", "closed", "broken"];
        Self(known_words(&String::from_utf8_lossy(body), known, name).unwrap_or_default())
    }

    fn describe(&self, endpoint: &str, status: StatusCode) -> String {
        format!("{endpoint}: {status}: {}", self.0)
    }

    fn is_not_done(&self, _: StatusCode) -> bool {
        self.0 == "busy"
    }

    fn is_closed(&self, _: StatusCode) -> bool {
        self.0 == "closed"
    }
}

impl Exchange for Note<'_> {
    type Refusal = Text;

    fn request(&self) -> &Request {
        &self.request
    }

    fn headers(&self) -> HeaderMap {
        [(http::header::AUTHORIZATION, HeaderValue::from_static(SECRET))].into_iter().collect()
    }

    fn observe(&self, _: &HeaderMap) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    fn name(&self) -> Option<&str> {
        None
    }
}

fn request(method: Method, repeatable: bool) -> Request {
    Request {
        method,
        path: "/notes/1".to_owned(),
        query: Some("full=yes".into()),
        body: None,
        repeatable,
        max_len: 100,
        limit: Duration::from_secs(10),
        sends: None,
    }
}

fn client(nodes: &[&Faulty]) -> Client {
    let endpoints = nodes.iter().map(|node| format!("{}/below", node.url()).parse().unwrap());
    let tls = ClientConfig::builder_with_provider(kes_tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Client::new(endpoints.collect(), tls, &[]).unwrap()
}

async fn send(client: &Client, request: Request) -> Result<Answer, Fault<Text>> {
    client.send(&Note { request, answers: &AtomicUsize::new(0) }).await
}

fn text(status: u16, text: &str) -> Reply {
    Reply::Proper { status, headers: Vec::new(), body: text.as_bytes().to_vec() }
}

#[tokio::test]
async fn a_request_carries_what_its_protocol_says_and_each_answer_is_observed() {
    let node = Faulty::start(|_: &Received| Reply::json(200, json!({ "note": 1 })));
    let (client, answers) = (client(&[&node]), AtomicUsize::new(0));
    for _ in 0..2 {
        let note = Note { request: request(Method::GET, true), answers: &answers };
        let answer = client.send(&note).await.unwrap();
        assert_eq!(answer.endpoint, node.url());
        assert_eq!(answer.body.expose(), br#"{"note":1}"#);
        answer.is_empty_or_json::<Text>().unwrap();
    }
    assert_eq!(answers.load(Ordering::Relaxed), 2);
    let received = &node.requests()[0];
    assert_eq!(received.target, "/below/notes/1?full=yes");
    assert_eq!(received.header("authorization"), Some(SECRET));
    assert_eq!(node.connections(), 1, "it is kept");
}

#[tokio::test]
async fn a_refusal_is_in_the_words_of_the_store_without_the_secret() {
    let node = Faulty::start(|_: &Received| text(403, &format!("no note for\n{SECRET}")));
    let fault = send(&client(&[&node]), request(Method::GET, true)).await.err().unwrap();
    assert_eq!(fault.to_string(), format!("{}: 403 Forbidden: no note ...", node.url()));
    assert!(fault.is_forbidden() && !fault.is_unsure() && !fault.may_pass());
    assert_eq!(node.requests().len(), 1);
}

#[tokio::test]
async fn an_answer_is_bounded_also_without_a_length() {
    for reply in [text(200, &"x".repeat(101)), Reply::Endless] {
        let node = Faulty::start(move |_: &Received| reply.clone());
        let fault = send(&client(&[&node]), request(Method::GET, true)).await.err().unwrap();
        assert!(fault.to_string().ends_with("it is longer than 100 bytes"), "{fault}");
    }
    let node = Faulty::start(|_: &Received| text(200, "<html>"));
    let answer = send(&client(&[&node]), request(Method::GET, true)).await.unwrap();
    assert!(answer.is_empty_or_json::<Text>().is_err());
}

#[tokio::test]
async fn only_what_is_safe_is_sent_twice() {
    for (repeatable, expected) in [(true, 2), (false, 1)] {
        let failed = AtomicBool::new(false);
        let node = Faulty::start(move |_: &Received| {
            if failed.swap(true, Ordering::Relaxed) { text(204, "") } else { Reply::Reset }
        });
        let result = send(&client(&[&node]), request(Method::POST, repeatable)).await;
        assert_eq!(result.is_ok(), repeatable);
        assert!(result.err().is_none_or(|fault| fault.is_unsure()));
        assert_eq!(node.requests().len(), expected);
    }
}

#[tokio::test]
async fn another_endpoint_is_tried_where_nothing_was_done() {
    let (busy, free) = (
        Faulty::start(|_: &Received| text(503, "busy")),
        Faulty::start(|_: &Received| text(204, "")),
    );
    let client = client(&[&busy, &free]);
    for _ in 0..2 {
        let answer = send(&client, request(Method::POST, false)).await.unwrap();
        assert_eq!(answer.endpoint, free.url());
    }
    assert_eq!((busy.requests().len(), free.requests().len()), (1, 2), "it is remembered");
    let broken = Faulty::start(|_: &Received| text(500, "broken"));
    let client = self::client(&[&broken, &free]);
    let fault = send(&client, request(Method::POST, false)).await.err().unwrap();
    assert!(fault.is_unsure() && fault.to_string().ends_with("broken"), "{fault}");
}

#[tokio::test]
async fn the_secret_follows_no_redirect_to_a_stranger() {
    let stranger = Faulty::start(|_: &Received| text(200, "caught"));
    let target = format!("{}/notes/1?{SECRET}", stranger.url());
    let node = Faulty::start(move |_: &Received| Reply::redirect(307, &target));
    let fault = send(&client(&[&node]), request(Method::GET, true)).await.err().unwrap();
    let shown = fault.to_string();
    assert!(shown.contains("and that is not an endpoint of the configuration"), "{shown}");
    assert!(!shown.contains(SECRET), "{shown}");
    assert!(!shown.contains(&stranger.url()), "{shown}");
    assert_eq!(stranger.requests().len(), 0);
    // What another request sent may come back in the host.
    let node = Faulty::start(|_: &Received| Reply::redirect(307, "http://s3cret.example:8200/x"));
    let fault = send(&client(&[&node]), request(Method::GET, true)).await.err().unwrap();
    let shown = format!("{fault} {fault:?}");
    assert!(shown.contains(" redirects to another host, and"), "{shown}");
    assert!(!shown.contains("s3cret"), "{shown}");
    let target = format!("{}/notes/1", stranger.url());
    let node = Faulty::start(move |_: &Received| Reply::redirect(307, &target));
    // A redirect to another endpoint of the configuration is followed.
    let answer = send(&client(&[&node, &stranger]), request(Method::GET, true)).await.unwrap();
    assert_eq!(answer.endpoint, stranger.url());
}
