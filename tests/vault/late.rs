//! Changes that Vault carries out after the server has given them up, also when the configuration
//! is read again in between with another address of the same Vault.

use std::sync::Arc;
use std::time::Duration;

use kes_testkit::faulty::{Faulty, Gate, Reply, Request};
use kes_testkit::wait::eventually_async;

use super::world::{Layout, World};
use crate::harness::{self, Protocol, Server, Who};

/// More than a late change needs to be told once Vault carries it out.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the audit log says of a change that was carried out late.
const LATE: &str = "the key store carried it out after the server had given it up";

/// A Vault with a second address, at which the requests of one method for key `k` are held up.
struct Late {
    world: World,
    gate: Arc<Gate>,
    node: Faulty,
    server: Server,
}

impl Late {
    fn new(method: &'static str) -> Self {
        let world = World::new(Layout { tls: false, ..Layout::V1 });
        let (vault, gate) = (world.bao.admin_address(), Arc::new(Gate::default()));
        let keeper = Arc::clone(&gate);
        let node = Faulty::start(move |request: &Request| {
            if request.method == method && request.path() == "/v1/kv/k" {
                keeper.wait();
            }
            Reply::Forward(vault)
        });
        let server = Server::with(&world.config_at(&node.url()));
        Self { world, gate, node, server }
    }

    /// Reads the configuration again, which lists both addresses now.
    fn reload_with_another_endpoint(&self) {
        let endpoints = format!("\"{},{}\"", self.node.url(), self.world.bao.url());
        self.server.reload_and_wait(&self.world.config_at(&endpoints));
        let url = format!("vault: {}/", self.node.url());
        self.server.wait_for_stderr(&format!(
            "key store changed from {url} to {url}, with other endpoints; the keys in memory are \
             dropped"
        ));
    }

    /// Waits for the line of the audit log that says so of a change that was carried out late.
    async fn told(&self, message: &str) {
        let is_told = async || self.lines(message).iter().any(|line| line.contains(LATE));
        eventually_async(PATIENCE, "the late change is recorded", is_told).await;
        let [line] = &self.lines(message)[..] else { panic!("{}", self.server.stdout()) };
        assert!(line.contains("res.code=200") && line.contains("/k "), "{line}");
        // Of the same client as the line of the failure.
        let client = line.split(' ').find(|field| field.starts_with("req.identity=")).unwrap();
        let failed = self.lines("failed to ");
        assert!(failed.iter().any(|failed| failed.contains(client)), "{failed:?}");
    }

    /// The lines of the audit log with a message.
    fn lines(&self, message: &str) -> Vec<String> {
        let log = self.server.stdout();
        log.lines().filter(|line| line.contains(message)).map(str::to_owned).collect()
    }
}

#[test]
fn a_key_that_vault_deletes_late_is_gone_and_recorded() {
    let late = Late::new("DELETE");
    harness::run(async {
        let mut minio = late.server.client(Who::Minio, Protocol::H2).await;
        let mut operator = late.server.client(Who::Other, Protocol::H2).await;
        assert_eq!(minio.send("PUT", "/v1/key/create/k", "").await.status, 200);
        let delete =
            tokio::spawn(async move { operator.send("DELETE", "/v1/key/delete/k", "").await });
        late.gate.holds_one().await;
        // MinIO takes a key that exists for its own.
        let created = minio.send("PUT", "/v1/key/create/k", "").await.error();
        assert_eq!(created, (502, "failed to create key".to_owned()));
        let deleted = delete.await.unwrap().error();
        assert_eq!(deleted, (502, "failed to delete key".to_owned()));

        late.reload_with_another_endpoint();
        for _ in 0..2 {
            assert_eq!(minio.send("PUT", "/v1/key/generate/k", "{}").await.status, 200);
        }
        late.gate.open();
        late.told("secret key 'k' deleted").await;
        assert_eq!(minio.send("PUT", "/v1/key/generate/k", "{}").await.status, 404);
        assert_eq!(late.world.stored("k"), None);
    });
}

#[test]
fn a_key_that_vault_creates_late_does_not_come_back_after_its_delete() {
    let late = Late::new("POST");
    harness::run(async {
        let mut minio = late.server.client(Who::Minio, Protocol::H2).await;
        let mut operator = late.server.client(Who::Other, Protocol::H2).await;
        let created = minio.send("PUT", "/v1/key/create/k", "").await.error();
        assert_eq!(created, (502, "failed to create key".to_owned()));

        late.reload_with_another_endpoint();
        let mut waits = operator.share();
        let mut delete =
            tokio::spawn(async move { waits.send("DELETE", "/v1/key/delete/k", "").await.status });
        let early = tokio::time::timeout(Duration::from_millis(500), &mut delete).await;
        assert!(early.is_err(), "it did not wait: {early:?}");
        late.gate.open();
        assert_eq!(delete.await.unwrap(), 200);
        late.told("secret key 'k' created").await;
        assert_eq!(operator.send("GET", "/v1/key/describe/k", "").await.status, 404);
        assert_eq!(late.world.stored("k"), None);
    });
}
