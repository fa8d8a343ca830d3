//! The HTTP/2 connection of a TLS proxy, which its clients share: a client that does not take an answer
//! loses that request, and nobody loses the connection (contract `config.md`, TLS).

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use kes_testkit::wait::eventually_async;

use crate::harness::{
    self, Client, Config, Credentials, Exposition, Protocol, Server, Who, tls_config, tls_connect,
};

const TLS: &str = "{ key: server.key, cert: server.crt, proxy: { identities: [\"${OTHER}\"] } }";

/// How long a known identity may leave an answer at the most, with what a busy machine needs.
const LIMIT: Duration = Duration::from_secs(60);

/// A window that all small answers fit into, and no large one.
const WINDOW: u32 = 5_000;

const SELF: &str = "/v1/identity/self/describe";

async fn open(proxy: &Client, who: &Credentials, path: &str) -> Incoming {
    let certificate = who.escaped_certificate();
    let headers = [("x-tls-client-cert", certificate.as_str())];
    let answer = proxy.share().open("GET", path, &headers, Bytes::new()).await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.into_body()
}

/// The connection of the proxy of a server, with the windows of [`WINDOW`].
async fn connect(server: &Server) -> Client {
    let tls = tls_config(&server.tls.certificate, Some(&server.other), Protocol::H2);
    let tls = tls_connect(&server.address, tls).await.unwrap();
    Client::with_window(tls, &server.address, WINDOW).await
}

async fn assert_reset(body: Incoming) {
    let error = body.collect().await.map(|_| "all of it arrived").unwrap_err();
    assert!(format!("{error:?}").contains("CANCEL"), "{error:?}");
}

#[test]
fn an_answer_that_one_client_does_not_take_closes_nothing() {
    harness::run(async {
        let config = Config::usual().with("tls", TLS);
        let server = Server::with(&config.with("api", "{ /v1/metrics: { skip_auth: true } }"));
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        let size = admin.send("GET", "/v1/metrics?all", "").await.body.len();
        assert!(size > 2 * usize::try_from(WINDOW).unwrap(), "the metrics have {size} bytes");

        let proxy = connect(&server).await;
        let [stranger, another] = [(); 2].map(|()| Credentials::new(&["client"]));
        let begun = Instant::now();
        let stalled = [
            open(&proxy, &server.minio, "/v1/metrics?all").await,
            open(&proxy, &stranger, "/v1/metrics?all").await,
        ];
        let held = async |admin: &mut Client| {
            let metrics = Exposition::of(admin).await;
            ["known", "stranger"].map(|class| {
                metrics.value(&format!("kes_class_reserved_bytes{{class=\"{class}\"}}")) > 0.0
            })
        };
        assert_eq!(held(&mut admin).await, [true, true]);
        let admin = &admin;
        let (proxy_, held, another) = (&proxy, &held, &another);
        eventually_async(LIMIT, "what is not taken is given up", || async move {
            // The others go on all the time.
            open(proxy_, another, SELF).await.collect().await.unwrap();
            held(&mut admin.share()).await == [false, false]
        })
        .await;
        assert!(begun.elapsed() > Duration::from_secs(4), "a client has some time");
        for body in stalled {
            assert_reset(body).await;
        }
        let metrics = Exposition::of(&mut admin.share()).await;
        assert_eq!(metrics.value("kes_class_connections{class=\"known\"}"), 1.0);
        // Who takes it gets all of it.
        let text = open(&proxy, &server.minio, "/v1/metrics?all").await.collect().await.unwrap();
        assert!(text.to_bytes().ends_with(b"\n"));
    });
}

#[test]
fn a_log_that_one_client_does_not_read_closes_nothing() {
    harness::run(async {
        let server = Server::with(&Config::usual().with("tls", TLS));
        let admin = server.client(Who::Admin, Protocol::H2).await;
        let proxy = connect(&server).await;
        let stalled = open(&proxy, &server.minio, "/v1/log/audit").await;
        // How many lines were lost by the follower, while there is one.
        let lost = async || {
            let before = Exposition::of(&mut admin.share()).await.value("kes_log_dropped_lines");
            let path = format!("/v1/key/describe/{}", "x".repeat(500));
            let requests = (0..100).map(|_| {
                let (mut admin, path) = (admin.share(), &path);
                async move { admin.send("GET", path, "").await.status }
            });
            assert_eq!(join_all(requests).await, [400; 100]);
            open(&proxy, &server.minio, SELF).await.collect().await.unwrap();
            Exposition::of(&mut admin.share()).await.value("kes_log_dropped_lines") - before
        };
        eventually_async(LIMIT, "lines wait for the follower", || async { lost().await > 0.0 })
            .await;
        eventually_async(LIMIT, "the follower is given up", || async { lost().await == 0.0 }).await;
        assert_reset(stalled).await;
        let metrics = Exposition::of(&mut admin.share()).await;
        assert_eq!(metrics.value("kes_class_connections{class=\"known\"}"), 1.0);
    });
}

/// An answer of more than 4 KiB comes in pieces.
#[test]
fn an_answer_in_pieces_arrives_whole() {
    harness::run(async {
        let server = Server::with(&Config::usual().with("tls", TLS));
        let certificate = server.minio.escaped_certificate();
        let headers = [("x-tls-client-cert", certificate.as_str())];
        for protocol in [Protocol::H1, Protocol::H2] {
            let mut proxy = server.client(Who::Other, protocol).await;
            for _ in 0..10 {
                let path = "/v1/metrics?all";
                let reply = proxy.try_send("GET", path, &headers, Bytes::new()).await.unwrap();
                assert_eq!(reply.status, 200);
                assert_eq!(reply.header("content-length"), reply.body.len().to_string());
            }
        }
    });
}
