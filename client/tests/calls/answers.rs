use crate::stub::{Answer, Options, Stub, Then, answer, client_of};
use kes_api::SecretBytes;
use kes_api::body::{DecryptRequest, EncryptRequest, ImportRequest};
use kes_client::Error;

#[tokio::test]
async fn requests_are_those_of_the_contract() {
    let stub = Stub::answering("200 OK", r#"{"ciphertext":"aGk="}"#).await;
    let client = stub.client();
    let bytes = |text: &str| SecretBytes::new(text.as_bytes().to_vec());
    let request = EncryptRequest { plaintext: bytes("hello"), context: bytes("c") };
    let ciphertext = client.encrypt("my key/é", &request).await.unwrap();
    assert_eq!(ciphertext.ciphertext.expose(), b"hi");
    client.create_key("k").await.unwrap();
    let import = ImportRequest { key: bytes("0123"), cipher: "AES256".to_owned() };
    client.import_key("k", &import).await.unwrap();

    let requests = stub.requests();
    assert_eq!(requests[0].line, "PUT /v1/key/encrypt/my%20key%2F%C3%A9");
    assert_eq!(requests[0].body, r#"{"plaintext":"aGVsbG8=","context":"Yw=="}"#);
    assert!(requests[0].head.contains("content-type: application/json"));
    assert_eq!(
        (requests[1].line.as_str(), requests[1].body.as_str()),
        ("PUT /v1/key/create/k", "")
    );
    assert_eq!(requests[2].body, r#"{"key":"MDEyMw==","cipher":"AES256"}"#);
}

/// A server tells who accepts no text format less (contract `api.md`, Metrics).
#[tokio::test]
async fn all_metrics_are_asked_for() {
    let stub = Stub::answering("200 OK", "").await;
    stub.client().metrics().await.unwrap();
    stub.client().ready().await.unwrap();
    let requests = stub.requests();
    let accept = |at: usize| {
        let lines = requests[at].head.lines().filter(|line| line.starts_with("accept:"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(accept(0), ["accept: text/plain; version=0.0.4"]);
    assert_eq!(accept(1), [""; 0]);
}

#[tokio::test]
async fn bulk_decryption_keeps_its_order() {
    let stub = Stub::answering("200 OK", r#"[{"plaintext":"YQ=="},{"plaintext":"Yg=="}]"#).await;
    let request = |text: &str| DecryptRequest {
        ciphertext: SecretBytes::new(text.as_bytes().to_vec()),
        context: SecretBytes::default(),
    };
    let client = stub.client();
    let plaintexts = client.bulk_decrypt("k", &[request("1"), request("2")]).await.unwrap();
    let plaintexts: Vec<_> = plaintexts.iter().map(|item| item.plaintext.expose()).collect();
    assert_eq!(plaintexts, [b"a", b"b"]);
    let body = &stub.requests()[0].body;
    let expected = r#"[{"ciphertext":"MQ==","context":""},{"ciphertext":"Mg==","context":""}]"#;
    assert_eq!(body, expected);
}

#[tokio::test]
async fn refusals_carry_the_message_of_the_server_alone() {
    let long = "x".repeat(10_000);
    for (content_type, body, message) in [
        ("application/json", r#"{"message":"key already exists"}"#, "key already exists"),
        ("text/plain", "404 page not found\n", "404 page not found"),
        ("text/html", "<html>…</html>", "the server answered 400 Bad Request"),
        ("application/json", "", "the server answered 400 Bad Request"),
        ("application/json", "{\"message\":\"a\\u001b[31mb\"}", "a\\u{1b}[31mb"),
        ("text/plain", &long, &long[..500]),
    ] {
        let answer = answer("400 Bad Request", content_type, body);
        let stub = Stub::new(move |_| Answer(answer.clone(), Then::Serve)).await;
        let error = stub.client().create_key("k").await.unwrap_err();
        assert_eq!(error.to_string(), message);
        assert!(matches!(error, Error::Status { status: 400, .. }));
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = Stub::answering("200 OK", "").await;
    let location = format!("https://{}/v1/key/create/k", other.endpoint());
    let redirect = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"
    );
    let stub = Stub::new(move |_| Answer(redirect.clone().into_bytes(), Then::Serve)).await;
    let error = client_of(&[stub.endpoint()]).create_key("k").await.unwrap_err();
    assert!(matches!(error, Error::Status { status: 307, .. }), "{error}");
    assert!(other.lines().is_empty());
}

#[tokio::test]
async fn an_answer_has_a_limit() {
    let announced = "HTTP/1.1 200 OK\r\ncontent-length: 4194305\r\n\r\n";
    let stub = Stub::new(move |_| Answer(announced.as_bytes().to_vec(), Then::Serve)).await;
    let error = stub.client().version().await.unwrap_err().to_string();
    assert!(error.contains("larger than 4194304 bytes"), "{error}");

    let first = std::sync::atomic::AtomicBool::new(true);
    let endless = move |_: &_| {
        let mut bytes = Vec::new();
        if first.swap(false, std::sync::atomic::Ordering::Relaxed) {
            bytes.extend(b"HTTP/1.1 200 OK\r\n\r\n");
        }
        bytes.extend(vec![b'x'; 65_536]);
        Answer(bytes, Then::Repeat)
    };
    let stub = Stub::new(endless).await;
    let error = stub.client().metrics().await.unwrap_err().to_string();
    assert!(error.contains("larger than 4194304 bytes"), "{error}");

    // Up to the limit it is read whole, also when the server announces no length.
    let text = "x".repeat(4 * 1024 * 1024);
    let unannounced = format!("HTTP/1.1 200 OK\r\n\r\n{text}");
    let stub = Stub::new(move |_| Answer(unannounced.clone().into_bytes(), Then::Close)).await;
    assert_eq!(stub.client().metrics().await.unwrap(), text);
}

#[tokio::test]
async fn an_answer_that_is_none_is_told_without_its_content() {
    for body in ["", "nope", "[]", r#"{"plaintext":"MARKED","ciphertext":"****"}"#] {
        let stub = Stub::answering("200 OK", body).await;
        let error = stub.client().generate("k", &Default::default()).await.err().unwrap();
        assert!(matches!(error, Error::Protocol { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&stub.endpoint()) && !text.contains("MARKED"), "{text}");
    }
}

#[tokio::test]
async fn a_listing_is_read_page_by_page() {
    let pages = |request: &crate::stub::Request| {
        let body = match request.line.as_str() {
            "GET /v1/key/list/a" => r#"{"names":["a1","a2"],"continue_at":"a*a3"}"#,
            "GET /v1/key/list/a*a3" => r#"{"names":["a3"],"continue_at":"a*a4"}"#,
            "GET /v1/key/list/a*a4" => r#"{"names":["a4"]}"#,
            "GET /v1/identity/list/" => r#"{"identities":["x"],"continue_at":""}"#,
            _ => r#"{"names":["b"],"continue_at":"b"}"#,
        };
        Answer(answer("200 OK", "application/json", body), Then::Serve)
    };
    let stub = Stub::new(pages).await;
    let client = stub.client();
    assert_eq!(client.list_keys("a").await.unwrap(), ["a1", "a2", "a3", "a4"]);
    let page = client.list_keys_page("a").await.unwrap();
    assert_eq!(page.continue_at.as_deref(), Some("a*a3"));
    assert_eq!(client.list_identities("").await.unwrap(), ["x"]);
    let error = client.list_policies("b").await.unwrap_err().to_string();
    assert!(error.contains("names itself as the next one"), "{error}");
}

#[tokio::test]
async fn a_log_is_read_line_by_line() {
    let chunks = ["{\"a\"", ":1}\n{\"b\":2}\n\n", "{\"c\":3}\n{\"cut\""];
    let mut stream = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for chunk in chunks {
        stream.extend(format!("{:x}\r\n{chunk}\r\n", chunk.len()).into_bytes());
    }
    stream.extend(b"0\r\n\r\n");
    let stub = Stub::new(move |_| Answer(stream.clone(), Then::Close)).await;
    let mut log = stub.client().audit_log().await.unwrap();
    let mut lines = Vec::new();
    while let Some(line) = log.next_line().await.unwrap() {
        lines.push(line);
    }
    assert_eq!(lines, ["{\"a\":1}", "{\"b\":2}", "{\"c\":3}", "{\"cut\""]);
    assert_eq!(stub.lines(), ["GET /v1/log/audit"]);

    let refused = Stub::answering("403 Forbidden", r#"{"message":"no"}"#).await;
    assert_eq!(refused.client().error_log().await.err().unwrap().to_string(), "no");

    let endless = Stub::new(|_| {
        let mut bytes = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        bytes.extend(vec![b'x'; 2 * 1024 * 1024]);
        Answer(bytes, Then::Serve)
    })
    .await;
    let mut log = endless.client().error_log().await.unwrap();
    let error = log.next_line().await.unwrap_err().to_string();
    assert!(error.contains("a line of the log is too long"), "{error}");
}

#[tokio::test]
async fn http_2_is_spoken_where_the_server_does() {
    // The stub speaks h1 alone: what it gets to read shows what was negotiated.
    let options = Options { alpn: &[b"h2", b"http/1.1"], ..Options::default() };
    let stub = Stub::with(options, |_| Answer(Vec::new(), Then::Close)).await;
    stub.client().version().await.unwrap_err();
    assert_eq!(stub.lines(), ["PRI * HTTP/2.0"]);
}
