//! Traces: what a collector is sent, read by the published definitions of the protocol, and what
//! happens if it takes nothing. The collector is a small server that keeps what it is sent.

use std::time::Duration;

use futures_util::future::join_all;
use kes_testkit::faulty::{Faulty, Reply};
use kes_testkit::wait::{eventually, eventually_async};
use kes_testkit::{Authority, Nginx, Port, otlp};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{
    self, BASE64, Client, Config, Exposition, Protocol, Server, Successors, Who, slow_generate,
};

const PATIENCE: Duration = Duration::from_secs(60);

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// A client's span in that trace.
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// What the collector asks for, and nobody else may read.
const TOKEN: &str = "t0ken-of-the-collector";

fn takes_all() -> Faulty {
    Faulty::start(|_| Reply::json(200, json!({ "partialSuccess": {} })))
}

fn section(url: &str) -> String {
    format!("{{ endpoint: '{url}', headers: {{ Authorization: Bearer {TOKEN} }} }}")
}

fn traced(collector: &Faulty) -> Config {
    Config::usual().with("traces", &section(&collector.url()))
}

/// All spans that a collector was sent.
fn spans(collector: &Faulty) -> Vec<Value> {
    let requests = collector.requests();
    otlp::spans(requests.iter().map(|request| &request.body[..]))
}

/// How many of those a collector was sent are of an operation, without reading all of them.
fn count(collector: &Faulty, operation: &str) -> usize {
    let word = format!("\"{operation}\"");
    let requests = collector.requests().into_iter();
    requests.map(|request| String::from_utf8(request.body).unwrap().matches(&word).count()).sum()
}

fn wait_for(collector: &Faulty, operation: &str, spans: usize) {
    eventually(PATIENCE, &format!("{spans} of {operation} are sent"), || {
        count(collector, operation) >= spans
    });
}

async fn dropped(server: &Server, reason: &str) -> f64 {
    let metrics = Exposition::from(server).await;
    metrics.value(&format!("kes_traces_dropped_spans{{reason=\"{reason}\"}}"))
}

/// Asks for data keys of `k`.
async fn generate(client: &mut Client, times: usize) {
    for _ in 0..times {
        assert_eq!(client.send("PUT", "/v1/key/generate/k", "").await.status, 200);
    }
}

async fn create(server: &Server) -> Client {
    let mut admin = server.client(Who::Admin, Protocol::H2).await;
    assert_eq!(admin.send("PUT", "/v1/key/create/k", "").await.status, 200);
    admin
}

#[test]
fn nothing_is_sent_unless_the_configuration_says_so() {
    harness::run(async {
        let collector = takes_all();
        let config = Config::usual().env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url());
        let mut server = Server::with(&config);
        let mut admin = create(&server).await;
        let headers = [("traceparent", PARENT)];
        let reply = admin.try_send("PUT", "/v1/key/generate/k", &headers, "".into()).await;
        assert_eq!(reply.unwrap().status, 200);
        assert_eq!(Exposition::from(&server).await.value("kes_traces_exported_spans"), 0.0);
        server.signal(Signal::TERM);
        assert!(server.wait_for_exit(PATIENCE).success());
        assert_eq!(collector.connections(), 0);
    });
}

#[test]
fn a_request_is_a_span_and_its_calls_are_below_it() {
    harness::run(async {
        let collector = takes_all();
        let mut server = Server::with(&traced(&collector));
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        assert_eq!(admin.send("PUT", "/v1/key/create/marked-key", "").await.status, 200);
        wait_for(&collector, "CreateKey", 1);
        // Its memory is empty then.
        server.restart();

        let context = BASE64.encode_to_string("marked-context");
        let body = json!({ "context": context }).to_string();
        let path = "/v1/key/generate/marked-key";
        let mut minio = server.client(Who::Minio, Protocol::H2).await;
        let headers = [("traceparent", PARENT)];
        let cold = minio.try_send("PUT", path, &headers, body.clone().into()).await.unwrap();
        assert_eq!(cold.status, 200);
        let mut over_h1 = server.client(Who::Minio, Protocol::H1).await;
        assert_eq!(over_h1.send("POST", path, &body).await.status, 200);
        let ciphertext = cold.json()["ciphertext"].as_str().unwrap().to_owned();
        let body = json!({ "ciphertext": ciphertext, "context": context }).to_string();
        let decrypted = minio.send("PUT", "/v1/key/decrypt/marked-key", &body).await;
        assert_eq!(decrypted.status, 200);
        let plaintext = decrypted.json()["plaintext"].as_str().unwrap().to_owned();
        assert_eq!(minio.send("PUT", "/v1/key/generate/marked-none", "").await.status, 404);
        assert_eq!(minio.send("GET", "/v1/key/list/marked*", "").await.status, 200);
        // It has a certificate that no policy names: its trace is its own affair.
        let mut stranger = server.client(Who::Other, Protocol::H2).await;
        let reply = stranger.try_send("GET", "/version", &headers, "".into()).await.unwrap();
        assert_eq!(reply.status, 200);
        assert_eq!(stranger.send("GET", "/marked/nowhere", "").await.status, 404);
        wait_for(&collector, "Version", 1);

        let spans = spans(&collector);
        let of = |operation: &str| {
            let of = |span: &&Value| span["attributes"]["kes.operation"] == operation;
            spans.iter().filter(of).collect::<Vec<_>>()
        };
        let below = |parent: &Value| {
            let calls = spans.iter().filter(|span| span["parent"] == parent["id"]);
            calls.map(|call| call["attributes"].clone()).collect::<Vec<_>>()
        };
        let call = |operation: &str, result: &str| {
            json!({
                "kes.keystore.kind": "fs",
                "kes.keystore.operation": operation,
                "kes.keystore.result": result,
            })
        };
        let [created] = of("CreateKey")[..] else { panic!("{spans:#?}") };
        assert_eq!(below(created), [call("create", "ok")]);
        let [cold, cached, missing] = of("GenerateKey")[..] else { panic!("{spans:#?}") };
        assert_eq!((&cold["trace"], &cold["parent"]), (&json!(TRACE), &json!("b7ad6b7169203331")));
        assert_eq!(
            cold["attributes"],
            json!({
                "http.request.method": "PUT",
                "http.route": "/v1/key/generate/{name}",
                "http.response.status_code": 200,
                "url.scheme": "https",
                "network.protocol.name": "http",
                "network.protocol.version": "2",
                "kes.operation": "GenerateKey",
            })
        );
        assert_eq!(
            (&cold["name"], &cold["kind"]),
            (&json!("PUT /v1/key/generate/{name}"), &json!(2))
        );
        assert_eq!(below(cold), [call("read", "ok")]);
        assert_eq!((&cached["parent"], below(cached)), (&json!(""), vec![]));
        assert_eq!(cached["name"], "POST /v1/key/generate/{name}");
        assert_eq!(cached["attributes"]["network.protocol.version"], "1.1");
        assert_eq!(missing["attributes"]["http.response.status_code"], 404);
        assert_eq!(below(missing), [call("read", "not_found")]);
        let [decrypted] = of("DecryptKey")[..] else { panic!("{spans:#?}") };
        assert_eq!(below(decrypted), [] as [Value; 0]);
        let [listed] = of("ListKeys")[..] else { panic!("{spans:#?}") };
        assert_eq!(below(listed), [call("list", "ok")]);
        let [version] = of("Version")[..] else { panic!("{spans:#?}") };
        assert!(version["trace"] != TRACE && version["parent"] == "", "{version}");
        for span in &spans {
            assert_eq!(
                (&span["resource"]["service.name"], &span["status"]),
                (&json!("kes"), &json!(0))
            );
            let time = |name: &str| span[name].as_u64().unwrap();
            assert!(time("began") > 0 && time("began") <= time("ended"), "{span}");
        }
        // 7 requests, of which 4 made a call. One without a route has no span.
        assert_eq!(spans.len(), 11, "{spans:#?}");

        let secrets = [
            "marked",
            &context,
            &plaintext,
            &ciphertext,
            &server.admin.identity,
            &server.minio.identity,
            &server.other.identity,
        ];
        for request in collector.requests() {
            assert_eq!(request.header("authorization"), Some(&*format!("Bearer {TOKEN}")));
            let sent = format!("{request:?}{}", String::from_utf8_lossy(&request.body));
            for secret in secrets {
                assert!(!sent.contains(secret), "{secret} in {sent}");
            }
        }
        let told = Exposition::from(&server).await;
        assert!(told.value("kes_traces_exported_spans") > 0.0);
        let logs = server.stdout() + &server.stderr() + &format!("{told:?}");
        assert!(!logs.contains(TOKEN), "{logs}");
    });
}

#[test]
fn a_sample_is_of_requests_without_a_trace() {
    harness::run(async {
        let collector = takes_all();
        let none = section(&collector.url()).replace("endpoint", "sample: 0, endpoint");
        let server = Server::with(&Config::usual().with("traces", &none));
        let mut admin = create(&server).await;
        generate(&mut admin, 20).await;
        for flags in ["00", "01"] {
            let parent = format!("{}{flags}", &PARENT[..PARENT.len() - 2]);
            let headers = [("traceparent", parent.as_str())];
            let reply = admin.try_send("PUT", "/v1/key/generate/k", &headers, "".into()).await;
            assert_eq!(reply.unwrap().status, 200);
        }
        wait_for(&collector, "GenerateKey", 1);
        let spans = spans(&collector);
        let [only] = &spans[..] else { panic!("{spans:#?}") };
        assert_eq!(only["trace"], TRACE);
        // Exemplars need no spans.
        let trace = format!("00-{}-b7ad6b7169203331-01", "a".repeat(32));
        assert_eq!(slow_generate(&server, &admin, Who::Minio, &trace).await, 200);
        let metrics = Exposition::from(&server).await;
        assert!(metrics.exemplars().values().any(|one| one.contains(&"a".repeat(32))));
    });
}

/// The memory of spans is bounded, and what is dropped is counted and told.
#[test]
fn no_request_waits_for_a_collector_that_hangs() {
    const CLIENTS: usize = 8;
    const REQUESTS: usize = 1_500;
    harness::run(async {
        let collector = Faulty::start(|_| Reply::Hang);
        let mut server = Server::with(&traced(&collector));
        let admin = create(&server).await;
        let load = async || {
            let clients = (0..CLIENTS).map(|_| {
                let mut client = admin.share();
                async move { generate(&mut client, REQUESTS).await }
            });
            join_all(clients).await;
            Exposition::from(&server).await.value("kes_system_mem_resident")
        };
        let before = load().await;
        assert!(dropped(&server, "queue").await > 0.0);
        let more = load().await - before;
        assert!(more < 8e6, "{more} bytes more");
        eventually_async(PATIENCE, "a batch is given up", async || {
            dropped(&server, "export").await >= 512.0
        })
        .await;
        server.wait_for_stderr("spans of traces were dropped: ");
        server.wait_for_stderr("no answer from");
        server.signal(Signal::TERM);
        assert!(server.wait_for_exit(PATIENCE).success());
    });
}

#[test]
fn a_collector_that_is_away_or_is_none_is_told() {
    harness::run(async {
        let away = Port::free();
        let is_another = Faulty::start(|_| Reply::Raw(format!("{TOKEN}\r\n\r\n").into_bytes()));
        let a_page = Faulty::start(|_| Reply::Proper {
            status: 200,
            headers: vec![("Content-Type".to_owned(), "text/html".to_owned())],
            body: format!("<html>{TOKEN}</html>").into_bytes(),
        });
        let endless = Faulty::start(|_| Reply::Endless);
        let refuses = Faulty::start(|_| Reply::json(401, json!(TOKEN)));
        let elsewhere = takes_all();
        let target = elsewhere.url();
        let redirects = Faulty::start(move |_| Reply::redirect(307, &target));
        let cases = [
            (format!("http://{}", away.address()), "no connection to"),
            (is_another.url(), "no answer from"),
            (a_page.url(), "is not OTLP"),
            (endless.url(), "is not OTLP"),
            (refuses.url(), "answered 401 Unauthorized"),
            (redirects.url(), "answered 307 Temporary Redirect"),
        ];
        let mut servers = Vec::new();
        for (url, told) in cases {
            let server = Server::with(&Config::usual().with("traces", &section(&url)));
            generate(&mut create(&server).await, 20).await;
            servers.push((server, url, told));
        }
        for (mut server, url, told) in servers {
            eventually_async(PATIENCE, &format!("'{told}' is counted"), async || {
                dropped(&server, "export").await >= 1.0
            })
            .await;
            server.wait_for_stderr(told);
            let said = server.stderr() + &server.stdout();
            assert!(
                said.contains("spans of traces were dropped: ") && !said.contains(TOKEN),
                "{said}"
            );
            server.signal(Signal::TERM);
            assert!(server.wait_for_exit(PATIENCE).success(), "{url}");
        }
        assert_eq!(elsewhere.connections(), 0);
    });
}

#[test]
fn rejected_spans_are_counted() {
    harness::run(async {
        let answer = json!({ "partialSuccess": { "rejectedSpans": "1", "errorMessage": TOKEN } });
        let collector = Faulty::start(move |_| Reply::json(200, answer.clone()));
        let server = Server::with(&traced(&collector));
        create(&server).await;
        eventually_async(PATIENCE, "one is rejected", async || {
            dropped(&server, "rejected").await >= 1.0
        })
        .await;
        server.wait_for_stderr("rejected them");
        assert!(!server.stderr().contains(TOKEN));
    });
}

#[test]
fn a_server_that_stops_sends_its_last_spans() {
    harness::run(async {
        let collector = takes_all();
        let mut server = Server::with(&traced(&collector));
        let mut admin = create(&server).await;
        generate(&mut admin, 20).await;
        server.signal(Signal::TERM);
        assert!(server.wait_for_exit(PATIENCE).success());
        assert_eq!(count(&collector, "GenerateKey"), 20);
    });
}

#[test]
fn a_server_that_hands_over_sends_its_last_spans() {
    harness::run(async {
        let collector = takes_all();
        let mut server = Server::with(&traced(&collector));
        let mut successors = Successors::of(&server);
        let mut admin = create(&server).await;
        generate(&mut admin, 20).await;
        drop(admin);
        successors.hand_over(&server).await;
        assert!(server.wait_for_exit(PATIENCE).success());
        assert_eq!(count(&collector, "GenerateKey"), 20);
    });
}

#[test]
fn a_reload_turns_traces_on_and_off_and_elsewhere() {
    harness::run(async {
        let [first, second] = [takes_all(), takes_all()];
        let server = Server::start();
        let mut admin = create(&server).await;
        server.reload_and_wait(&traced(&first));
        assert!(server.stderr().contains(&format!("traces.endpoint set to {}/", first.url())));
        generate(&mut admin, 1).await;
        wait_for(&first, "GenerateKey", 1);

        // What cannot be used changes nothing.
        let bad = "{ endpoint: 'https://127.0.0.1:1', ca: nowhere.pem }";
        server.reload(&Config::usual().with("traces", bad));
        server.wait_for_stderr("reload failed; still using the previous configuration");
        assert!(server.stderr().contains("traces.ca: "), "{}", server.stderr());
        generate(&mut admin, 1).await;
        wait_for(&first, "GenerateKey", 2);

        server.reload_and_wait(&traced(&second));
        generate(&mut admin, 1).await;
        wait_for(&second, "GenerateKey", 1);
        server.reload_and_wait(&Config::usual());
        assert!(server.stderr().contains("traces.endpoint no longer set; it was "));
        let before = Exposition::from(&server).await.value("kes_traces_exported_spans");
        generate(&mut admin, 20).await;
        assert_eq!((count(&first, "GenerateKey"), count(&second, "GenerateKey")), (2, 1));
        let metrics = Exposition::from(&server).await;
        assert_eq!(metrics.value("kes_traces_exported_spans"), before);
        assert!(!server.stderr().contains(TOKEN), "{}", server.stderr());
    });
}

#[test]
fn a_collector_with_a_certificate_is_verified() {
    harness::run(async {
        let (authority, other, collector) = (Authority::new(), Authority::new(), takes_all());
        let (pair, behind) = (authority.server("collector"), collector.address());
        let nginx = Nginx::with(|address| {
            format!(
                "    server {{\n        listen {address} ssl;\n        ssl_certificate {};\n        \
                 ssl_certificate_key {};\n        client_max_body_size 4m;\n        location / {{ \
                 proxy_pass http://{behind}; }}\n    }}",
                pair.certificate.display(),
                pair.key.display()
            )
        });
        let section = |authority: &Authority| {
            let ca = authority.certificate().display();
            format!("{{ endpoint: 'https://{}', ca: '{ca}' }}", nginx.address())
        };
        let server = Server::with(&Config::usual().with("traces", &section(&other)));
        let mut admin = create(&server).await;
        server.wait_for_stderr("its certificate is not signed by a trusted CA");
        assert_eq!(collector.requests().len(), 0);
        server.reload_and_wait(&Config::usual().with("traces", &section(&authority)));
        generate(&mut admin, 1).await;
        wait_for(&collector, "GenerateKey", 1);
    });
}

#[test]
fn a_check_asks_the_collector_without_a_span() {
    let (collector, away) = (takes_all(), Port::free());
    let server = Server::start();
    let check = |url: &str| {
        let config = Config::usual().with("traces", &section(url));
        std::fs::write(server.file("config.yml"), config.text()).unwrap();
        let variables = server.environment().iter().map(|(name, value)| (name, value));
        let mut command = server.command(Who::Admin, &["check", "--config", "config.yml"]);
        let output = command.envs(variables).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!said.contains(TOKEN), "{said}");
        said
    };
    let url = collector.url();
    let said = check(&url);
    assert!(
        said.contains(&format!("ok       traces: the collector at {url} takes spans")),
        "{said}"
    );
    assert!(collector.requests().len() == 1 && spans(&collector).is_empty());
    let said = check(&format!("http://{}", away.address()));
    assert!(said.contains("warning  traces: no connection to http://127.0.0.1:"), "{said}");
}
