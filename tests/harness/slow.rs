use std::time::Duration;

use kes_testkit::wait::eventually_async;

use super::{Client, Exposition, Raw, Server, Who};

/// How long a request may take to arrive before a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks for a data key of `k`, which takes at least 30 ms by the server's clock: the body is sent that
/// long after the server has begun to serve the request. `trace` is the value of `traceparent`; `admin`
/// looks whether it has begun, and nobody else may send anything meanwhile. Returns the status.
pub(crate) async fn slow_generate(server: &Server, admin: &Client, who: Who, trace: &str) -> u16 {
    let mut raw = Raw::connect(server, who).await;
    raw.write(format!(
        "PUT /v1/key/generate/k HTTP/1.1\r\nhost: kes\r\ncontent-length: 2\r\n\
         traceparent: {trace}\r\n\r\n"
    ))
    .await;
    eventually_async(PATIENCE, "the request is under way", || {
        let mut admin = admin.share();
        async move { Exposition::of(&mut admin).await.value("kes_http_request_active") == 2.0 }
    })
    .await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    raw.write("{}").await;
    raw.status().await
}
