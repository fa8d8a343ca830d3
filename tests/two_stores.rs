//! Two key stores at once (configuration: `migration`), and `kes migrate --online` beside servers.

use std::process::Output;
use std::time::Duration;

use base64_simd::STANDARD as BASE64;
use kes_testkit::Bao;
use kes_testkit::bao::RoleCredentials;
use kes_testkit::wait::eventually_async;
use serde_json::{Value, json};

use crate::harness::{Client, Config, Protocol, Server, Who};

/// Every kind of store to every other one, through all stages and back.
mod stages;

/// Under load, with each store killed in each stage.
mod load;

/// SIGKILL within changes of both.
mod kills;

/// What is told of the stage, and what is refused.
mod told;

/// For what has to happen: no matter of time, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A kind of key store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Folder,
    V1,
    V2,
    Transit,
}

const KINDS: [Kind; 4] = [Kind::Folder, Kind::V1, Kind::V2, Kind::Transit];

/// An OpenBao with an engine for each kind.
struct Vault {
    bao: Bao,
    role: RoleCredentials,
}

impl Vault {
    fn start() -> Self {
        let bao = Bao::start_in_memory();
        let root = bao.root();
        let engines = root.set_up().kv("one", 1).kv("two", 2).kv("three", 2);
        let role = engines.transit("transit", "wrap").app_role();
        Self { bao, role }
    }

    /// The section of a store: one of two that are of the same kind has another place.
    fn section(&self, kind: Kind, place: &str) -> String {
        let (engine, version, transit) = match kind {
            Kind::Folder => return format!("{{ fs: {{ path: {place} }} }}"),
            Kind::V1 => ("one", 1, ""),
            Kind::V2 => ("two", 2, ""),
            Kind::Transit => ("three", 2, ", transit: { key: wrap }"),
        };
        format!(
            "{{ vault: {{ endpoint: \"{}\", engine: {engine}, version: v{version}, prefix: {place}, \
             approle: {{ id: \"${{ID}}\", secret: \"${{SECRET}}\" }}{transit} }} }}",
            self.bao.url()
        )
    }
}

/// A stage of the way, in the words of the configuration.
#[derive(Clone, Copy, Debug)]
struct Stage {
    read: &'static str,
    write: &'static str,
    compare: &'static str,
}

const FIRST: Stage = Stage { read: "old", write: "old", compare: "off" };
const DOUBLE: Stage = Stage { write: "both", ..FIRST };
const COMPARE: Stage = Stage { compare: "on", ..DOUBLE };
const READ_NEW: Stage = Stage { read: "new", ..DOUBLE };
const WRITE_NEW: Stage = Stage { write: "new", ..READ_NEW };

impl Stage {
    fn section(self, to: &str) -> String {
        let Self { read, write, compare } = self;
        format!("{{ to: {to}, read: {read}, write: {write}, compare: {compare} }}")
    }
}

/// A configuration with one key store, in which keys are soon read again.
fn config(keystore: &str) -> Config {
    Config::usual()
        .with("cache", "{ expiry: { any: 100ms, unused: 100ms } }")
        .with("keystore", keystore)
}

async fn admin(server: &Server) -> Client {
    server.client(Who::Admin, Protocol::H2).await
}

async fn send(client: &mut Client, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let reply = client.send(method, path, &body).await;
    let value = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
    (reply.status, value)
}

async fn create(client: &mut Client, key: &str) -> u16 {
    send(client, "PUT", &format!("/v1/key/create/{key}"), &Value::Null).await.0
}

async fn delete(client: &mut Client, key: &str) -> u16 {
    send(client, "DELETE", &format!("/v1/key/delete/{key}"), &Value::Null).await.0
}

/// Encrypts the name of a key with the key.
async fn seal(client: &mut Client, key: &str) -> Result<String, u16> {
    let body = json!({ "plaintext": BASE64.encode_to_string(key) });
    let (status, answer) = send(client, "PUT", &format!("/v1/key/encrypt/{key}"), &body).await;
    if status == 200 { Ok(answer["ciphertext"].as_str().unwrap().to_owned()) } else { Err(status) }
}

/// Decrypts it: the status, after a look at what was decrypted.
async fn open(client: &mut Client, key: &str, ciphertext: &str) -> u16 {
    let body = json!({ "ciphertext": ciphertext });
    let (status, answer) = send(client, "PUT", &format!("/v1/key/decrypt/{key}"), &body).await;
    if status == 200 {
        assert_eq!(answer["plaintext"], BASE64.encode_to_string(key), "{key}");
    }
    status
}

/// What the server tells of its migration.
async fn told(client: &mut Client) -> Value {
    send(client, "GET", "/v1/status", &Value::Null).await.1["migration"].clone()
}

/// Waits until so many keys were counted in the old store alone, in the new one alone, and in both. A
/// reload has them counted anew.
async fn counted(server: &Server, config: &Config, keys: [u64; 3]) {
    server.reload_and_wait(config);
    let client = admin(server).await;
    eventually_async(PATIENCE, &format!("{keys:?} keys are counted"), || {
        let mut client = client.share();
        async move {
            let counts = told(&mut client).await["keys"].clone();
            ["old", "new", "both"].map(|place| counts[place].as_u64().unwrap_or(u64::MAX)) == keys
        }
    })
    .await;
}

/// Runs `kes migrate --online` beside a server.
fn migrate(server: &Server, more: &[&str]) -> Output {
    let args = ["migrate", "--online", "--config", "config.yml", "--rate", "2000"];
    let mut command = server.command(Who::Nobody, &[&args[..], more].concat());
    command.envs(server.environment().iter().map(|(name, value)| (name, value)));
    command.output().unwrap()
}

/// The same, which has to succeed.
fn migrated(server: &Server, more: &[&str]) -> String {
    let output = migrate(server, more);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    stdout + &stderr
}
