//! A new process takes over (SIGUSR2) while Vault is away, or has not answered a change.

use kes_testkit::faulty::{Mode, Relay};
use serde_json::json;

use super::work::{generate, open};
use super::world::{Layout, World};
use crate::harness::{self, Client, Protocol, Server, Successors, Who};

const CACHE: &str = "{ expiry: { any: 5m, unused: 5m, offline: 10m } }";

fn server(world: &World, endpoint: &str) -> Server {
    Server::with(&world.config_at(endpoint).with("cache", CACHE))
}

async fn status(client: &mut Client, method: &str, path: &str) -> u16 {
    client.send(method, path, if path.contains("generate") { "{}" } else { "" }).await.status
}

#[test]
fn keys_in_memory_outlast_an_upgrade_during_an_outage() {
    let world = World::new(Layout::V2);
    let relay = Relay::to(world.bao.address());
    let server = server(&world, &format!("http://{}", relay.address()));
    harness::run(async {
        let mut minio = server.client(Who::Minio, Protocol::H2).await;
        let mut operator = server.client(Who::Other, Protocol::H2).await;
        for name in ["kept", "deleted"] {
            let path = format!("/v1/key/create/{name}");
            assert_eq!(status(&mut minio, "PUT", &path).await, 200);
        }
        let made = generate(&mut minio, "kept", "context").await;
        assert_eq!(status(&mut operator, "DELETE", "/v1/key/delete/deleted").await, 200);
        relay.set(Mode::Cut);

        let mut successors = Successors::of(&server);
        for _ in 0..2 {
            successors.hand_over(&server).await;
            assert!(server.stderr().contains(": 1 socket, 1 key"), "{}", server.stderr());
            let mut minio = server.client(Who::Minio, Protocol::H2).await;
            open(&mut minio, "kept", &made).await;
            generate(&mut minio, "kept", "context").await;
            assert_ne!(status(&mut minio, "PUT", "/v1/key/generate/deleted").await, 200);
        }
        relay.set(Mode::Pass);
        let mut minio = server.client(Who::Minio, Protocol::H2).await;
        open(&mut minio, "kept", &made).await;
    });
}

/// Vault has got the delete of a key, and its answer is lost. Until nobody can carry it out any more
/// the key is neither created nor taken from memory, whichever process is asked.
#[test]
fn a_change_whose_outcome_is_not_known_stays_so() {
    let world = World::new(Layout::V2);
    let relay = Relay::to(world.bao.address());
    let server = server(&world, &format!("http://{}", relay.address()));
    harness::run(async {
        let mut minio = server.client(Who::Minio, Protocol::H2).await;
        for name in ["sure", "unsure"] {
            assert_eq!(status(&mut minio, "PUT", &format!("/v1/key/create/{name}")).await, 200);
            assert_eq!(status(&mut minio, "PUT", &format!("/v1/key/generate/{name}")).await, 200);
        }
        relay.set(Mode::Hold);
        let mut operator = server.client(Who::Other, Protocol::H2).await;
        let deleted = status(&mut operator, "DELETE", "/v1/key/delete/unsure").await;
        assert!(deleted >= 500, "{deleted}");
        let mut successors = Successors::of(&server);
        successors.hand_over(&server).await;
        assert!(server.stderr().contains(": 1 socket, 1 key"), "{}", server.stderr());
        // What was held stays so.
        relay.set(Mode::HoldOpen);
        let mut minio = server.client(Who::Minio, Protocol::H2).await;
        assert_eq!(status(&mut minio, "PUT", "/v1/key/generate/sure").await, 200);
        // It would be undone by the delete.
        let reply = minio.send("PUT", "/v1/key/create/unsure", &json!({}).to_string()).await;
        assert!(reply.status >= 500, "{reply:?}");
        server.wait_for_stderr("the key store has not completed an earlier change of it");
    });
}
