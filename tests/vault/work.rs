//! What MinIO does all day: data keys, made and opened on many streams at once.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use base64_simd::STANDARD as BASE64;
use serde_json::json;

use super::world::{tell, text};
use crate::harness::{Client, Protocol, Server, Who};

/// A data key as the server gave it.
#[derive(Clone, Debug)]
pub(super) struct DataKey {
    pub(super) plaintext: String,
    pub(super) ciphertext: String,
    pub(super) context: String,
}

/// HTTP/2 connections of MinIO, each used by some streams at the same time.
pub(super) struct Streams {
    connections: Vec<Client>,
    streams: usize,
}

impl Streams {
    pub(super) async fn open(server: &Server, connections: usize, streams: usize) -> Self {
        let mut clients = Vec::new();
        for _ in 0..connections {
            clients.push(server.client(Who::Minio, Protocol::H2).await);
        }
        Self { connections: clients, streams }
    }

    /// Makes data keys on all streams, `rounds` on each, and opens each at once.
    pub(super) async fn work(&self, key: &str, rounds: usize) -> Vec<DataKey> {
        let start = Instant::now();
        let tasks: Vec<_> = (0..self.connections.len() * self.streams)
            .map(|number| {
                let mut client = self.connections[number % self.connections.len()].share();
                let key = key.to_owned();
                tokio::spawn(async move {
                    let mut made = Vec::new();
                    for round in 0..rounds {
                        let context = format!("bucket-{number}/object-{round}");
                        let data_key = generate(&mut client, &key, &context).await;
                        open(&mut client, &key, &data_key).await;
                        made.push(data_key);
                    }
                    made
                })
            })
            .collect();
        let mut made = Vec::new();
        for task in tasks {
            made.extend(task.await.unwrap());
        }
        self.tell("made and opened", 2 * made.len(), start.elapsed());
        let plaintexts: HashSet<_> = made.iter().map(|data_key| &data_key.plaintext).collect();
        assert_eq!(plaintexts.len(), made.len(), "each data key is a new one");
        made
    }

    /// Opens data keys, shared out among all streams.
    pub(super) async fn open_all(&self, key: &str, made: &[DataKey]) {
        let start = Instant::now();
        let streams = self.connections.len() * self.streams;
        let tasks: Vec<_> = made
            .chunks(made.len().div_ceil(streams))
            .enumerate()
            .map(|(number, part)| {
                let mut client = self.connections[number % self.connections.len()].share();
                let (key, part) = (key.to_owned(), part.to_vec());
                tokio::spawn(async move {
                    for data_key in part {
                        open(&mut client, &key, &data_key).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        self.tell("opened", made.len(), start.elapsed());
    }

    fn tell(&self, what: &str, requests: usize, took: Duration) {
        let rate = requests as f64 / took.as_secs_f64();
        tell(&format!(
            "{} connections with {} streams: {what}, {requests} requests, {rate:.0}/s",
            self.connections.len(),
            self.streams
        ));
    }
}

pub(super) async fn generate(client: &mut Client, key: &str, context: &str) -> DataKey {
    let context = BASE64.encode_to_string(context);
    let body = json!({ "context": context }).to_string();
    let reply = client.send("PUT", &format!("/v1/key/generate/{key}"), &body).await;
    assert_eq!(reply.error(), (200, String::new()), "generate");
    let answer = reply.json();
    let plaintext = text(&answer, "plaintext");
    assert_eq!(BASE64.decode_to_vec(&plaintext).unwrap().len(), 32);
    DataKey { plaintext, ciphertext: text(&answer, "ciphertext"), context }
}

/// Opens a data key; fails if it is not the one that was made.
pub(super) async fn open(client: &mut Client, key: &str, data_key: &DataKey) {
    let body = json!({ "ciphertext": data_key.ciphertext, "context": data_key.context });
    let reply = client.send("PUT", &format!("/v1/key/decrypt/{key}"), &body.to_string()).await;
    assert_eq!(reply.error(), (200, String::new()), "decrypt");
    assert_eq!(text(&reply.json(), "plaintext"), data_key.plaintext);
}
