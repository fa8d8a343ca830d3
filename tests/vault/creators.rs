//! Two servers create one key at the same time.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Barrier;

use super::work::{generate, open};
use super::world::{Layout, Policy, World, tell, told_nothing_of};
use crate::harness::{self, Protocol, Who};

const ROUNDS: usize = 20;

/// KV v1 has no compare-and-set.
#[test]
fn one_of_two_servers_succeeds_on_kv_v1() {
    one_succeeds(Layout::V1);
}

/// Nor does the policy keep one of them from overwriting what the other wrote.
#[test]
fn one_of_two_servers_succeeds_on_kv_v1_where_they_may_overwrite() {
    one_succeeds(Layout { policy: Policy::Update, tls: false, ..Layout::V1 });
}

#[test]
fn one_of_two_servers_succeeds_on_kv_v2() {
    one_succeeds(Layout::V2);
}

fn one_succeeds(layout: Layout) {
    let world = World::new(layout);
    let servers = [world.serve(), world.serve()];
    harness::run(async {
        let mut clients = Vec::new();
        for server in &servers {
            clients.push(server.client(Who::Minio, Protocol::H2).await);
        }
        let start = Instant::now();
        for round in 0..ROUNDS {
            let key = format!("key-{round:02}");
            let barrier = Arc::new(Barrier::new(2));
            let tasks: Vec<_> = clients
                .iter()
                .map(|client| {
                    let (mut client, barrier) = (client.share(), Arc::clone(&barrier));
                    let path = format!("/v1/key/create/{key}");
                    tokio::spawn(async move {
                        barrier.wait().await;
                        let reply = client.send("PUT", &path, "").await;
                        let message =
                            if reply.status == 200 { String::new() } else { reply.message() };
                        (reply.status, message)
                    })
                })
                .collect();
            let mut answers = Vec::new();
            for task in tasks {
                answers.push(task.await.unwrap());
            }
            answers.sort();
            let exists = (400, "key already exists".to_owned());
            assert_eq!(answers, [(200, String::new()), exists], "{key}");

            // Both hold the key that stands: each opens what the other made.
            let (a, b) = (&mut clients[0].share(), &mut clients[1].share());
            let by_a = generate(a, &key, "a").await;
            let by_b = generate(b, &key, "b").await;
            open(a, &key, &by_b).await;
            open(b, &key, &by_a).await;
        }
        tell(&format!("{ROUNDS} rounds took {:?}", start.elapsed()));
    });
    assert_eq!(world.names(), (0..ROUNDS).map(|n| format!("key-{n:02}")).collect::<Vec<_>>());
    for server in &servers {
        told_nothing_of(server, &["ERROR"]);
    }
}
