use crate::authz::{KEY, TABLE};
use crate::harness::{self, Protocol, Server, Who};

const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get", "PURGE"];

#[test]
fn a_route_has_one_method() {
    harness::run(async {
        let server = Server::start();
        for protocol in [Protocol::H1, Protocol::H2] {
            // The method is looked at before the caller: who is unknown is told the same.
            for who in [Who::Admin, Who::Other] {
                let mut client = server.client(who, protocol).await;
                for row in &TABLE {
                    let path = format!("{}x", row.path);
                    let path = if row.path.ends_with('/') { path.as_str() } else { row.path };
                    for method in METHODS {
                        let served =
                            method == row.method || (row.method == "PUT" && method == "POST");
                        if served {
                            continue;
                        }
                        let told = format!("{method} {path} as {who:?} over {protocol:?}");
                        let reply = client.try_send(method, path, &[], "".into()).await;
                        let reply = reply.unwrap_or_else(|error| panic!("{told}: {error}"));
                        assert_eq!(reply.status, 405, "{told}");
                        assert_eq!(reply.header("accept"), row.method, "{told}");
                        assert_eq!(reply.header("allow"), row.method, "{told}");
                        if method != "HEAD" {
                            let message =
                                format!("received method '{method}' expected '{}'", row.method);
                            assert_eq!(reply.message(), message, "{told}");
                        }
                    }
                }
            }
        }
        let mut admin = server.client(Who::Admin, Protocol::H1).await;
        let keys = admin.send("GET", "/v1/key/list/", "").await.json();
        assert_eq!(keys["names"], serde_json::json!([]), "a wrong method was run");
    });
}

#[test]
fn post_does_what_put_does() {
    harness::run(async {
        let server = Server::start();
        for protocol in [Protocol::H1, Protocol::H2] {
            let mut admin = server.client(Who::Admin, protocol).await;
            let mut other = server.client(Who::Other, protocol).await;
            let name = format!("k-{protocol:?}");
            let mut ciphertext = String::new();
            let routes: Vec<_> = TABLE.iter().filter(|row| row.method == "PUT").collect();
            assert_eq!(routes.len(), 7);
            for row in routes {
                let name = if row.body == KEY { format!("imported-{name}") } else { name.clone() };
                let path = format!("{}{name}", row.path);
                let body = row.body.replace("<c>", &ciphertext);
                let refused = other.send("POST", &path, &body).await;
                assert_eq!(refused.status, 403, "{path} over {protocol:?}");
                let reply = admin.send("POST", &path, &body).await;
                assert_eq!(reply.status, 200, "{path} over {protocol:?}: {reply:?}");
                if row.path == "/v1/key/encrypt/" {
                    ciphertext = reply.json()["ciphertext"].as_str().unwrap().to_owned();
                }
            }
        }
    });
}
