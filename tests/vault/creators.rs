//! Two servers create one key at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kes_testkit::faulty::{Faulty, Reply, Request};
use kes_testkit::wait;
use tokio::sync::Barrier;

use super::work::{generate, open};
use super::world::{Layout, Policy, World, tell, told_nothing_of};
use crate::harness::{self, Protocol, Server, Who};

const ROUNDS: usize = 20;

/// A create is given up after 12 s.
const LIMIT: Duration = Duration::from_secs(10);

/// KV v1 has no compare-and-set.
#[test]
fn one_of_two_servers_succeeds_on_kv_v1() {
    one_succeeds(Layout::V1);
}

/// One server is about to write when the other begins, and goes on when the other waits for it or
/// has finished. The policy keeps neither from overwriting what the other wrote.
#[test]
fn a_server_does_not_overwrite_what_another_one_created_while_it_stood_still() {
    let world = World::new(Layout { policy: Policy::Update, tls: false, ..Layout::V1 });
    let vault = world.bao.admin_address();
    let (is_writing, may_write) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (writing, write) = (Arc::clone(&is_writing), Arc::clone(&may_write));
    let slow = Faulty::start(move |request: &Request| {
        if request.method == "POST" && request.path() == "/v1/kv/k" {
            writing.store(true, Ordering::SeqCst);
            wait::eventually(LIMIT, "the other is done", || write.load(Ordering::SeqCst));
        }
        Reply::Forward(vault)
    });
    let write = Arc::clone(&may_write);
    let fast = Faulty::start(move |request: &Request| {
        if request.method == "GET" && request.target.contains(".kes-claims/k?list=true") {
            write.store(true, Ordering::SeqCst);
        }
        Reply::Forward(vault)
    });
    let servers = [&slow, &fast].map(|node| Server::with(&world.config_at(&node.url())));
    harness::run(async {
        let mut slow = servers[0].client(Who::Minio, Protocol::H2).await;
        let mut fast = servers[1].client(Who::Minio, Protocol::H2).await;
        let mut creator = slow.share();
        let first =
            tokio::spawn(async move { creator.send("PUT", "/v1/key/create/k", "").await.status });
        wait::eventually_async(LIMIT, "the slow one writes", async || {
            is_writing.load(Ordering::SeqCst)
        })
        .await;
        let second = fast.send("PUT", "/v1/key/create/k", "").await.status;
        may_write.store(true, Ordering::SeqCst);
        let mut statuses = [first.await.unwrap(), second];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 400]);
        let made = generate(&mut slow, "k", "context").await;
        open(&mut fast, "k", &made).await;
    });
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
