use crate::harness::{self, Client, Config, Credentials, Protocol, Server, Who};

#[test]
fn an_api_that_skips_authentication_serves_everybody() {
    harness::run(async {
        let api = "{ /v1/ready: { skip_auth: true }, /v1/key/list/: { skip_auth: true } }";
        let server = Server::with(&Config::usual().with("api", api));
        for protocol in [Protocol::H1, Protocol::H2] {
            for who in [Who::Nobody, Who::Other, Who::Minio, Who::Admin] {
                let mut client = server.client(who, protocol).await;
                for path in ["/v1/ready", "/v1/re%61dy", "/v1/key/list/", "/v1/key/list/a*"] {
                    let reply = client.send("GET", path, "").await;
                    assert_eq!(reply.status, 200, "{path} as {who:?}: {reply:?}");
                }
            }
            let mut nobody = server.client(Who::Nobody, protocol).await;
            for path in ["/v1/status", "/v1/key/describe/k", "/v1/identity/self/describe"] {
                let reply = nobody.send("GET", path, "").await;
                let required = "tls: client certificate is required".to_owned();
                assert_eq!(reply.error(), (400, required), "{path}");
            }
            let mut other = server.client(Who::Other, protocol).await;
            assert_eq!(other.send("GET", "/v1/status", "").await.status, 403);
        }
    });
}

#[test]
fn without_it_the_handshake_demands_a_certificate() {
    harness::run(async {
        let config = Config::usual().with("api", "{ /v1/ready: { skip_auth: false } }");
        let server = Server::with(&config);
        for protocol in [Protocol::H1, Protocol::H2] {
            // In TLS 1.3 the refusal comes after the client's own handshake.
            let trusted = &server.tls.certificate;
            let answer = match Client::connect(&server.address, trusted, None, protocol).await {
                Ok(mut client) => client.try_send("GET", "/version", &[], "".into()).await,
                Err(error) => Err(error),
            };
            let error = answer.expect_err("who has no certificate was served");
            assert!(!error.is_empty());
            let known = Credentials::new(&["unknown"]);
            let mut client =
                Client::connect(&server.address, trusted, Some(&known), protocol).await.unwrap();
            assert_eq!(client.send("GET", "/version", "").await.status, 200);
        }
    });
}
