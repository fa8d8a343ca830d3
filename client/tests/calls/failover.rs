use crate::stub::{Answer, Stub, Then, client_of, nobody};
use kes_api::body::GenerateRequest;
use kes_client::Error;

const KEY: &str = r#"{"name":"k","algorithm":"AES256","created_at":"2026-11-22T02:24:08Z"}"#;
const FAILED: &str = r#"{"message":"failed to read key"}"#;

/// Reads the request, and closes the connection without a word.
async fn silent() -> Stub {
    Stub::new(|_| Answer(Vec::new(), Then::Close)).await
}

#[tokio::test]
async fn a_server_that_is_down_is_passed_over_by_every_call() {
    let up = Stub::answering("200 OK", "").await;
    let client = client_of(&[nobody().await, up.endpoint()]);
    client.create_key("k").await.unwrap();
    client.delete_key("k").await.unwrap();
    assert_eq!(up.lines(), ["PUT /v1/key/create/k", "DELETE /v1/key/delete/k"]);
}

#[tokio::test]
async fn the_server_that_answered_is_asked_again() {
    let first = silent().await;
    let second = Stub::answering("200 OK", KEY).await;
    let client = client_of(&[first.endpoint(), second.endpoint()]);
    for _ in 0..3 {
        client.describe_key("k").await.unwrap();
    }
    assert_eq!(first.lines().len(), 1);
    assert_eq!(second.lines().len(), 3);
}

#[tokio::test]
async fn without_an_answer_only_what_changes_nothing_is_repeated() {
    let other = Stub::answering("200 OK", KEY).await;
    for broken in [silent().await, Stub::answering("503 Service Unavailable", FAILED).await] {
        let seen = other.lines().len();
        let client = || client_of(&[broken.endpoint(), other.endpoint()]);
        client().describe_key("k").await.unwrap();
        assert_eq!(other.lines().len(), seen + 1);

        client().create_key("k").await.unwrap_err();
        client().delete_key("k").await.unwrap_err();
        client().import_key("k", &Default::default()).await.unwrap_err();
        assert_eq!(other.lines().len(), seen + 1, "a call that changes something was repeated");
    }
}

#[tokio::test]
async fn other_refusals_are_answers() {
    let other = Stub::answering("200 OK", KEY).await;
    for status in ["400 Bad Request", "403 Forbidden", "404 Not Found", "500 Internal Server Error"]
    {
        let refusing = Stub::answering(status, r#"{"message":"no"}"#).await;
        let client = client_of(&[refusing.endpoint(), other.endpoint()]);
        assert_eq!(client.describe_key("k").await.unwrap_err().to_string(), "no");
    }
    // A server that is not ready says so of itself.
    let unready = Stub::answering("504 Gateway Timeout", r#"{"message":"not ready"}"#).await;
    let client = client_of(&[unready.endpoint(), other.endpoint()]);
    assert_eq!(client.ready().await.unwrap_err().to_string(), "not ready");
    assert!(other.lines().is_empty());
}

#[tokio::test]
async fn the_last_server_has_the_last_word() {
    let one = Stub::answering("502 Bad Gateway", r#"{"message":"one"}"#).await;
    let two = Stub::answering("503 Service Unavailable", r#"{"message":"two"}"#).await;
    let client = client_of(&[one.endpoint(), two.endpoint()]);
    let error = client.generate("k", &GenerateRequest::default()).await.err().unwrap();
    assert!(matches!(&error, Error::Status { status: 503, message } if message == "two"));

    let (here, there) = (nobody().await, nobody().await);
    let error = client_of(&[here, there.clone()]).version().await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Connect { .. }));
    assert!(text.contains(&there) && text.contains("Connection refused"), "{text}");
}
