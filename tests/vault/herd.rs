use std::time::Duration;

use kes_testkit::wait;

use super::world::{Layout, World};
use crate::harness::{self, Exposition, Protocol, Who, figure};

/// Requests for one key at the same time, over as many streams as the connections have.
const CONNECTIONS: usize = 5;
const STREAMS: usize = 200;

const READS: &str = "kes_keystore_response_time_count{call=\"read\"}";

/// A thousand requests wait for one key, which Vault does not give yet, and the first of them has gone
/// away: all others have it from one read.
#[test]
fn a_thousand_requests_for_one_cold_key_are_one_read() {
    let world = World::new(Layout::V1);
    let mut server = world.serve();
    harness::run(async {
        let mut minio = server.client(Who::Minio, Protocol::H2).await;
        assert_eq!(minio.send("PUT", "/v1/key/create/k", "").await.status, 200);
    });
    // What it created it has in memory.
    server.restart();
    harness::run(async {
        let metrics = server.client(Who::Minio, Protocol::H2).await;
        let value = async |name: &str| Exposition::of(&mut metrics.share()).await.value(name);
        let ready = async || {
            let mut operator = server.client(Who::Other, Protocol::H2).await;
            operator.send("GET", "/v1/ready", "").await.status == 200
        };
        wait::eventually_async(Duration::from_secs(30), "it has logged in", ready).await;
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(server.client(Who::Minio, Protocol::H2).await);
        }
        let mut first = server.client(Who::Minio, Protocol::H2).await;

        world.bao.freeze();
        let first = tokio::spawn(async move { first.send("PUT", "/v1/key/generate/k", "").await });
        // The one that asks for metrics counts as well.
        let waiting = async |count: f64| {
            wait::eventually_async(Duration::from_secs(30), &format!("{count} wait"), async || {
                value("kes_http_request_active").await > count
            })
            .await;
        };
        waiting(1.0).await;
        let calls: Vec<_> = (0..CONNECTIONS * STREAMS)
            .map(|number| {
                let mut client = connections[number % CONNECTIONS].share();
                tokio::spawn(
                    async move { client.send("PUT", "/v1/key/generate/k", "").await.status },
                )
            })
            .collect();
        waiting(1_000.0).await;
        first.abort();
        world.bao.thaw();
        let mut errors = 0;
        for call in calls {
            errors += usize::from(call.await.unwrap() != 200);
        }
        let reads = value(READS).await;
        figure("requests for one cold key", CONNECTIONS * STREAMS);
        figure("reads of Vault", reads);
        figure("requests that failed", errors);
        assert_eq!((reads, errors), (1.0, 0));
    });
}
