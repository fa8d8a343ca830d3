//! The main job, on each way that keys can stand in Vault: the guide's set-up, a key by command,
//! data keys from many streams at once, a restart, and what stands in Vault byte by byte.

use std::process::Command;

use base64_simd::STANDARD as BASE64;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::stored::{AES256, StoredKey};
use super::work::{DataKey, Streams};
use super::world::{Layout, World, text, told_nothing_of};
use crate::harness::{self, Protocol, Reply, Server, Who};

/// What MinIO's documentation calls it.
const KEY: &str = "encrypted-bucket-key";

#[test]
fn kv_v1_as_in_the_guide() {
    job(Layout::V1, 4);
}

#[test]
fn kv_v1_with_a_prefix() {
    job(Layout { engine: "/secret/kes", prefix: "/minio/tenant-1/", ..Layout::V1 }, 1);
}

#[test]
fn kv_v2_without_tls() {
    job(Layout::V2, 1);
}

#[test]
fn kv_v2_in_a_namespace() {
    job(Layout { namespace: "team", prefix: "minio", tls: true, ..Layout::V2 }, 1);
}

#[test]
fn kv_v2_with_transit() {
    job(Layout { transit: true, tls: true, ..Layout::V2 }, 1);
}

#[test]
fn kv_v1_with_transit_in_a_namespace() {
    job(Layout { transit: true, namespace: "team", ..Layout::V1 }, 1);
}

fn job(layout: Layout, rounds: usize) {
    let world = World::new(layout);
    let mut server = world.serve();
    let create = server.command(Who::Minio, &["key", "create", "-k", KEY]);
    assert_eq!(run(create), "", "nothing is said");

    let made = harness::run(data_keys(&mut server, rounds));
    harness::run(compare_with_vault(&world, &server, &made[0]));
    if layout.transit {
        harness::run(rotated_transit_key(&world, &mut server));
    }
    harness::run(create_is_exact(&world, &server));
    harness::run(bring_list_and_remove(&world, &server));

    let stored = world.stored(KEY).unwrap();
    let key = BASE64.encode_to_string(StoredKey::decode(&stored).key);
    let secret = world.secret(KEY).unwrap();
    told_nothing_of(
        &server,
        &[&stored, &key, &secret, &world.role.secret_id, &made[0].plaintext, "ERROR"],
    );
}

/// Makes data keys on 64 streams of one connection and on 16 of each of 8, and opens them all
/// again after a restart.
async fn data_keys(server: &mut Server, rounds: usize) -> Vec<DataKey> {
    let one = Streams::open(server, 1, 64).await;
    let mut made = one.work(KEY, rounds).await;
    let many = Streams::open(server, 8, 16).await;
    made.extend(many.work(KEY, rounds).await);
    assert_eq!(made.len(), (64 + 8 * 16) * rounds);

    server.restart();
    // The first requests meet no key in memory, all at once.
    Streams::open(server, 1, 64).await.open_all(KEY, &made).await;
    Streams::open(server, 8, 16).await.open_all(KEY, &made).await;

    // Each belongs to its context.
    let mut client = server.client(Who::Minio, Protocol::H2).await;
    for context in ["", made[1].context.as_str()] {
        let body = json!({ "ciphertext": made[0].ciphertext, "context": context }).to_string();
        let reply = client.send("PUT", &format!("/v1/key/decrypt/{KEY}"), &body).await;
        let refusal = "decryption failed: ciphertext is not authentic";
        assert_eq!(reply.error(), (400, refusal.to_owned()));
    }
    made
}

/// What stands in Vault is what the server says and works with.
async fn compare_with_vault(world: &World, server: &Server, made: &DataKey) {
    let text_form = world.stored(KEY).unwrap();
    let stored = StoredKey::decode(&text_form);
    assert_eq!(stored.encode(), text_form, "written in the one canonical way");
    assert_eq!(stored.hash, 1);
    assert_eq!(stored.created_by, server.minio.identity);

    let mut operator = server.client(Who::Other, Protocol::H2).await;
    let described = get(&mut operator, &format!("/v1/key/describe/{KEY}")).await;
    let algorithm = if stored.cipher == AES256 { "AES256" } else { "ChaCha20" };
    assert_eq!(described["name"], KEY);
    assert_eq!(described["algorithm"], algorithm);
    assert_eq!(described["created_by"], stored.created_by);
    assert_eq!(nanoseconds(&text(&described, "created_at")), nanoseconds_of(&stored));

    let mac = operator
        .send("PUT", &format!("/v1/key/hmac/{KEY}"), r#"{"message":"bWVzc2FnZQ=="}"#)
        .await
        .json();
    assert_eq!(text(&mac, "hmac"), BASE64.encode_to_string(stored.hmac(b"message")));

    // Where the CPU has no AES, new keys are of the other type; imported ones are AES anywhere.
    if stored.cipher == AES256 {
        opens_by_hand(&stored, made);
    }
}

/// A ciphertext of the server opens with the key that stands in Vault.
fn opens_by_hand(stored: &StoredKey, made: &DataKey) {
    let bytes = |text: &str| BASE64.decode_to_vec(text).unwrap();
    let (ciphertext, context) = (bytes(&made.ciphertext), bytes(&made.context));
    assert_eq!(ciphertext.len(), 32 + 44);
    assert_eq!(stored.open(&ciphertext, &context), Some(bytes(&made.plaintext)));
    assert_eq!(stored.open(&ciphertext, b"another context"), None);
}

/// A transit key gets a new version: what the old one wrapped goes on, and so does what the new
/// one wraps.
async fn rotated_transit_key(world: &World, server: &mut Server) {
    assert!(world.secret(KEY).unwrap().starts_with("vault:v1:"));
    world.space().rotate_transit("transit", "wrap");
    // Also one that another server wrote.
    let foreign = foreign_key(server);
    let wrapped = world.wrap(&foreign.encode());
    assert!(wrapped.starts_with("vault:v2:"), "{wrapped}");
    world.put("from-elsewhere", &wrapped);

    run(server.command(Who::Minio, &["key", "create", "-k", "wrapped-anew"]));
    assert!(world.secret("wrapped-anew").unwrap().starts_with("vault:v2:"));
    server.restart();
    let streams = Streams::open(server, 1, 1).await;
    for key in [KEY, "wrapped-anew", "from-elsewhere"] {
        streams.work(key, 1).await;
    }
    for key in ["wrapped-anew", "from-elsewhere"] {
        run(server.command(Who::Other, &["key", "rm", "-k", key]));
    }
}

/// A key that stands is never written over.
async fn create_is_exact(world: &World, server: &Server) {
    let before = world.secret(KEY);
    let mut minio = server.client(Who::Minio, Protocol::H1).await;
    let mut operator = server.client(Who::Other, Protocol::H1).await;
    let exists = (400, "key already exists".to_owned());
    let reply = minio.send("PUT", &format!("/v1/key/create/{KEY}"), "").await;
    assert_eq!(reply.error(), exists);
    let reply = operator.send("PUT", &format!("/v1/key/import/{KEY}"), &import([7; 32])).await;
    assert_eq!(reply.error(), exists);
    let mut again = server.command(Who::Minio, &["key", "create", "-k", KEY]);
    let output = again.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.ends_with("key already exists\n"), "{said}");
    assert_eq!(world.secret(KEY), before);
}

/// Keys that are brought along, by API and by command: each works, is listed, and goes.
async fn bring_list_and_remove(world: &World, server: &Server) {
    let mut operator = server.client(Who::Other, Protocol::H2).await;
    let reply = operator.send("PUT", "/v1/key/import/by-api", &import([1; 32])).await;
    assert_eq!((reply.status, reply.body.len()), (200, 0));
    let bytes = BASE64.encode_to_string([2; 32]);
    run(server.command(Who::Other, &["key", "import", "-k", "by-command", &bytes]));
    let foreign = foreign_key(server);
    let text_form = foreign.encode();
    let has_transit = world.secret(KEY).unwrap().starts_with("vault:");
    let value = if has_transit { world.wrap(&text_form) } else { text_form };
    world.put("by-hand", &value);

    let names = ["by-api", "by-command", "by-hand", KEY];
    assert_eq!(world.names(), names, "keys stand in Vault, and nothing else");
    let mut minio = server.client(Who::Minio, Protocol::H2).await;
    assert_eq!(get(&mut minio, "/v1/key/list/*").await, json!({ "names": names }));
    let listed = get(&mut minio, "/v1/key/list/by-*").await;
    assert_eq!(listed, json!({ "names": names[..3] }));
    let listed = run(server.command(Who::Minio, &["key", "ls", "-k", "--json"]));
    assert_eq!(serde_json::from_str::<Value>(&listed).unwrap(), json!(names));

    let streams = Streams::open(server, 1, 2).await;
    for (name, key) in [("by-api", [1; 32]), ("by-command", [2; 32]), ("by-hand", foreign.key)] {
        let stored = StoredKey::decode(&world.stored(name).unwrap());
        assert_eq!((stored.key, stored.cipher), (key, AES256), "{name}");
        for made in streams.work(name, 1).await {
            opens_by_hand(&stored, &made);
        }
        // And the other way round.
        let plaintext = BASE64.encode_to_string("a secret of before");
        let ciphertext = stored.seal(b"a secret of before", b"context", [9; 28]);
        let (ciphertext, context) =
            (BASE64.encode_to_string(ciphertext), BASE64.encode_to_string("context"));
        streams.open_all(name, &[DataKey { plaintext, ciphertext, context }]).await;
    }

    let reply = operator.send("DELETE", "/v1/key/delete/by-api", "").await;
    assert_eq!((reply.status, reply.body.len()), (200, 0));
    run(server.command(Who::Other, &["key", "rm", "-k", "by-command", "by-hand"]));
    assert_eq!(world.names(), [KEY]);
    let missing = (404, "key does not exist".to_owned());
    for name in &names[..3] {
        let reply = minio.send("PUT", &format!("/v1/key/generate/{name}"), "").await;
        assert_eq!(reply.error(), missing, "{name}");
        // Vault deletes what is not there without a word.
        let reply = operator.send("DELETE", &format!("/v1/key/delete/{name}"), "").await;
        assert_eq!((reply.status, reply.body.len()), (200, 0), "{name}");
    }
    // The name is free again, for a key of its own.
    run(server.command(Who::Minio, &["key", "create", "-k", "by-api"]));
    assert_ne!(StoredKey::decode(&world.stored("by-api").unwrap()).key, [1; 32]);
}

/// A key as another server would have written it.
fn foreign_key(server: &Server) -> StoredKey {
    StoredKey {
        key: [3; 32],
        cipher: AES256,
        hmac_key: [4; 32],
        hash: 1,
        seconds: 1_700_000_000,
        nanos: 0,
        created_by: server.minio.identity.clone(),
    }
}

fn import(key: [u8; 32]) -> String {
    json!({ "key": BASE64.encode_to_string(key), "cipher": "AES256" }).to_string()
}

async fn get(client: &mut harness::Client, path: &str) -> Value {
    let reply: Reply = client.send("GET", path, "").await;
    assert_eq!(reply.error(), (200, String::new()), "{path}");
    reply.json()
}

/// Runs a command that has to succeed; what it printed.
fn run(mut command: Command) -> String {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    assert!(output.status.success(), "{command:?}: {}", text(output.stderr));
    text(output.stdout)
}

fn nanoseconds(time: &str) -> i128 {
    OffsetDateTime::parse(time, &Rfc3339).unwrap().unix_timestamp_nanos()
}

fn nanoseconds_of(stored: &StoredKey) -> i128 {
    i128::from(stored.seconds) * 1_000_000_000 + i128::from(stored.nanos)
}
