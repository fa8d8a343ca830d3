//! The load of the tests that count records: requests whose clients wait, and requests whose clients go
//! away, beside a reader of the audit stream who takes nothing.

use futures_util::future::join_all;

use super::{Protocol, Raw, Server, Who};

/// How many requests [`ten_thousand_generates`] makes.
pub(crate) const REQUESTS: u64 = 10_000;

/// One of so many is not waited for.
const GONE: u64 = 10;

const CONNECTIONS: u64 = 8;

/// Asks for data keys of a new key `k`. Returns the reader, who reads as long as this is kept.
pub(crate) async fn ten_thousand_generates(server: &Server) -> Raw {
    let mut admin = server.client(Who::Admin, Protocol::H2).await;
    assert_eq!(admin.send("PUT", "/v1/key/create/k", "").await.status, 200);
    let mut stalled = Raw::connect_narrow(server, Who::Admin).await;
    stalled.write("GET /v1/log/audit HTTP/1.1\r\nhost: kes\r\n\r\n").await;

    let served = (0..CONNECTIONS).map(|_| async {
        let mut client = server.client(Who::Admin, Protocol::H2).await;
        for _ in 0..REQUESTS / GONE * (GONE - 1) / CONNECTIONS {
            let reply = client.send("PUT", "/v1/key/generate/k", "").await;
            assert_eq!(reply.status, 200);
        }
    });
    let gone = (0..CONNECTIONS).map(|_| async {
        for _ in 0..REQUESTS / GONE / CONNECTIONS {
            let mut raw = Raw::connect(server, Who::Admin).await;
            raw.write(
                "PUT /v1/key/generate/k HTTP/1.1\r\nhost: kes\r\nexpect: 100-continue\r\n\
                 content-length: 20\r\n\r\n",
            )
            .await;
            // The server has the request and waits for its body, which never comes.
            assert!(raw.head().await.starts_with("HTTP/1.1 100"));
        }
    });
    tokio::join!(join_all(served), join_all(gone));
    stalled
}
