//! A client that creates, uses and deletes keys, and compares each answer with its model.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use base64_simd::STANDARD as BASE64;
use fastrand::Rng;
use serde_json::json;

use super::super::work::DataKey;
use super::super::world::text;
use super::Soak;
use super::model::{Key, Model, State, decrypt};
use crate::harness::{Client, Reply};

/// A worker begins no more keys than this.
const KEYS: usize = 400;

/// The longest rest between two requests, in milliseconds: the machine has other tests.
const REST: u64 = 6;

/// How many data keys of a key are remembered.
const DATA_KEYS: usize = 20;

pub(super) struct Worker {
    soak: Arc<Soak>,
    number: u64,
    random: Rng,
    client: Option<Client>,
    model: Model,
    tally: Tally,
    wrong: Vec<String>,
}

/// What a worker has done and seen.
pub(super) struct Done {
    pub(super) model: Model,
    pub(super) tally: Tally,
    pub(super) wrong: Vec<String>,
}

/// How much was done.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Requests that were answered by something else than a fault of the key store.
    pub(super) answered: usize,
    /// 502, 503 and 504.
    failed: usize,
    /// Connections that ended, and requests that were given up on purpose.
    unanswered: usize,
    by_operation: BTreeMap<&'static str, usize>,
    /// How many deletes of each name were acknowledged.
    pub(super) deleted: BTreeMap<String, usize>,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.answered += other.answered;
        self.failed += other.failed;
        self.unanswered += other.unanswered;
        for (operation, count) in &other.by_operation {
            *self.by_operation.entry(operation).or_default() += count;
        }
        for (name, count) in &other.deleted {
            *self.deleted.entry(name.clone()).or_default() += count;
        }
    }

    pub(super) fn told(&self) -> String {
        let Self { answered, failed, unanswered, by_operation, .. } = self;
        format!("{answered} answered, {failed} failed, {unanswered} unanswered: {by_operation:?}")
    }
}

impl Worker {
    pub(super) fn new(soak: Arc<Soak>, number: u64, seed: u64) -> Self {
        let random = Rng::with_seed(seed ^ (number + 1));
        let (model, tally) = (Model::default(), Tally::default());
        Self { soak, number, random, client: None, model, tally, wrong: Vec::new() }
    }

    /// Works until the soak ends.
    pub(super) async fn work(mut self) -> Done {
        self.create_new().await;
        while self.soak.goes_on() {
            tokio::time::sleep(Duration::from_millis(self.random.u64(0..REST))).await;
            match self.random.u32(0..100) {
                0..8 => self.create_new().await,
                8..12 => self.create_again().await,
                12..50 => self.generate().await,
                50..85 => self.open().await,
                85..89 => self.delete().await,
                89..93 => self.list().await,
                93..97 => self.give_up().await,
                _ => self.client = None,
            }
        }
        Done { model: self.model, tally: self.tally, wrong: self.wrong }
    }

    /// A connection, the one that there is or a new one.
    async fn client(&mut self) -> Option<Client> {
        if self.client.is_none() {
            self.client = self.soak.connect().await;
        }
        self.client.as_ref().map(Client::share)
    }

    /// Sends a request. Nothing is returned where nothing is known of its end.
    async fn send(&mut self, operation: &'static str, method: &str, path: &str) -> Option<Reply> {
        self.send_body(operation, method, path, String::new()).await
    }

    async fn send_body(
        &mut self,
        operation: &'static str,
        method: &str,
        path: &str,
        body: String,
    ) -> Option<Reply> {
        let Some(mut client) = self.client().await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            return None;
        };
        let reply = client.try_send(method, path, &[], body.into()).await;
        self.count(operation, reply)
    }

    fn count(&mut self, operation: &'static str, reply: Result<Reply, String>) -> Option<Reply> {
        *self.tally.by_operation.entry(operation).or_default() += 1;
        match reply {
            Ok(reply) if (502..=504).contains(&reply.status) => {
                self.tally.failed += 1;
                None
            }
            Ok(reply) => {
                self.tally.answered += 1;
                Some(reply)
            }
            Err(_) => {
                self.tally.unanswered += 1;
                self.client = None;
                None
            }
        }
    }

    fn blame(&mut self, what: &str, key: usize, reply: &Reply) {
        let Key { name, state, .. } = &self.model.keys[key];
        let (status, message) = (reply.status, reply.message());
        self.wrong.push(format!("'{name}' ({state:?}): {what} {status} {message}"));
    }

    fn any_key(&mut self) -> usize {
        // Newer ones more often: they are in the cache, and others are not.
        let count = self.model.keys.len();
        let newest = count.saturating_sub(12);
        if self.random.bool() {
            self.random.usize(newest..count)
        } else {
            self.random.usize(0..count)
        }
    }

    /// Creates a key of a name that nobody has used.
    async fn create_new(&mut self) {
        let count = self.model.keys.len();
        if count < KEYS {
            self.model.keys.push(Key::new(format!("w{}-{count}", self.number)));
            self.create(count).await;
        }
    }

    /// Creates a key of a name that has or had one.
    async fn create_again(&mut self) {
        let key = self.any_key();
        if self.model.keys[key].state != State::MayGo {
            self.create(key).await;
        }
    }

    async fn create(&mut self, key: usize) {
        let path = format!("/v1/key/create/{}", self.model.keys[key].name);
        let reply = self.send("create", "PUT", &path).await;
        let state = self.model.keys[key].state;
        match (reply.as_ref().map(|reply| reply.status), state) {
            (Some(200), State::Absent | State::MayCome) => {
                self.model.keys[key].is_gone();
                self.model.keys[key].state = State::Present;
            }
            (Some(400 | 409), State::Present | State::MayCome) => {}
            (None, State::Absent) => self.model.keys[key].state = State::MayCome,
            (None, _) => {}
            (Some(_), _) => self.blame("create", key, &reply.unwrap()),
        }
    }

    async fn delete(&mut self) {
        let key = self.any_key();
        let name = self.model.keys[key].name.clone();
        if self.model.keys[key].state == State::MayGo {
            return;
        }
        let reply = self.send("delete", "DELETE", &format!("/v1/key/delete/{name}")).await;
        match reply {
            Some(reply) if reply.status == 200 => {
                self.model.keys[key].is_gone();
                self.model.keys[key].state = State::Absent;
                *self.tally.deleted.entry(name).or_default() += 1;
            }
            Some(reply) => self.blame("delete", key, &reply),
            None => self.model.keys[key].state = State::MayGo,
        }
    }

    async fn generate(&mut self) {
        let key = self.any_key();
        let context = BASE64.encode_to_string(format!("bucket/{}", self.random.u32(..)));
        let path = format!("/v1/key/generate/{}", self.model.keys[key].name);
        let body = json!({ "context": context }).to_string();
        let Some(reply) = self.send_body("generate", "PUT", &path, body).await else { return };
        let of = &mut self.model.keys[key];
        match reply.status {
            200 if of.may_be_present() => {
                // It is there, and nobody may take it away again.
                if of.state == State::MayCome {
                    of.state = State::Present;
                }
                if of.made.len() < DATA_KEYS {
                    let answer = reply.json();
                    let (plaintext, ciphertext) =
                        (text(&answer, "plaintext"), text(&answer, "ciphertext"));
                    of.made.push(DataKey { plaintext, ciphertext, context });
                }
            }
            404 if of.may_be_absent() => {}
            _ => self.blame("generate", key, &reply),
        }
    }

    async fn open(&mut self) {
        let key = self.any_key();
        let of = &self.model.keys[key];
        let (made, lost) = (of.made.len(), of.lost.len());
        if made + lost == 0 {
            return;
        }
        let which = self.random.usize(0..made + lost);
        let is_lost = which >= made;
        let data_key = if is_lost { of.lost[which - made].clone() } else { of.made[which].clone() };
        let name = of.name.clone();
        let Some(mut client) = self.client().await else { return };
        let reply = decrypt(&mut client, &name, &data_key).await;
        if let Some(reply) = self.count("decrypt", reply) {
            self.wrong.extend(self.model.keys[key].judge(&data_key, is_lost, &reply));
        }
    }

    async fn list(&mut self) {
        let path = format!("/v1/key/list/w{}-*", self.number);
        let Some(reply) = self.send("list", "GET", &path).await else { return };
        if reply.status != 200 {
            self.wrong.push(format!("list {} {}", reply.status, reply.message()));
            return;
        }
        let answer = reply.json();
        let names: BTreeSet<&str> =
            answer["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        for Key { name, state, .. } in &self.model.keys {
            let is_listed = names.contains(name.as_str());
            if is_listed && *state == State::Absent || !is_listed && *state == State::Present {
                self.wrong.push(format!("'{name}' ({state:?}): listed: {is_listed}"));
            }
        }
    }

    /// Creates a key or a data key, and does not wait for the answer.
    async fn give_up(&mut self) {
        let Some(mut client) = self.client().await else { return };
        let key = self.any_key();
        let creates = self.random.bool() && self.model.keys[key].state != State::MayGo;
        let operation = if creates { "create" } else { "generate" };
        let path = format!("/v1/key/{operation}/{}", self.model.keys[key].name);
        let patience = Duration::from_millis(self.random.u64(0..20));
        let request = client.try_send("PUT", &path, &[], "".into());
        if tokio::time::timeout(patience, request).await.is_err() {
            self.tally.unanswered += 1;
        }
        if creates && self.model.keys[key].state == State::Absent {
            self.model.keys[key].state = State::MayCome;
        }
    }
}
