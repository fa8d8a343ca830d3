//! Clients that work all the time, and do what a real client does: a connection that breaks is
//! made anew, and what is safe to repeat is repeated.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use base64_simd::STANDARD as BASE64;
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use std::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time;

use super::LIMIT;
use super::tally::{Class, End, Tally};
use super::world::{Site, USED, cold};
use crate::harness::{Client, Credentials, Protocol, Reply};

/// Clients of each kind.
const CACHED_CLIENTS: usize = 6;
const COLD_CLIENTS: usize = 2;
pub(super) const PAIRS: usize = 2;

/// Rest between two requests: less than any gap that is looked for, and the machine has time for
/// the tests beside this one.
const CACHED_REST: Duration = Duration::from_millis(80);
const COLD_REST: Duration = Duration::from_millis(240);

/// The same between two creates: each is some writes, which all nodes of Vault carry out.
const CREATE_REST: Duration = Duration::from_millis(480);

/// A client that failed tries again after this time.
const RETRY: Duration = Duration::from_millis(20);

/// A client goes on to another key if it cannot create one in this time. Some 0.2 s are enough on
/// an idle machine, and 2 s not always on one that is busy.
const GIVE_UP: Duration = Duration::from_secs(6);

/// A client waits this long for an answer: longer than every route has.
const ANSWER: Duration = Duration::from_secs(20);

/// With all in order a key is created in this time: less than a server that died keeps it.
const SETTLED: Duration = Duration::from_secs(60);

/// A connection is given up after as many requests, so that each server gets its part again.
const REQUESTS_EACH: usize = 12;

/// A data key, and the key that it belongs to.
#[derive(Clone)]
struct DataKey {
    key: String,
    plaintext: String,
    ciphertext: String,
    context: String,
}

/// What was made in all.
#[derive(Default)]
pub(super) struct Made {
    /// Of keys in use.
    used: Vec<DataKey>,
    /// One of each key that no server had met.
    cold: Vec<DataKey>,
    /// Two of each key that was created.
    created: Vec<DataKey>,
    /// Keys that a client gave up to create, and from when to when it tried.
    given_up: Vec<(String, Range<Duration>)>,
}

/// The clients.
pub(super) struct Load {
    ended: Arc<AtomicBool>,
    made: Arc<Mutex<Made>>,
    tasks: Vec<JoinHandle<()>>,
}

/// One client with one connection.
struct Worker {
    address: String,
    trusted: CertificateDer<'static>,
    credentials: Arc<Credentials>,
    protocol: Protocol,
    tally: Arc<Tally>,
    connection: Option<Client>,
    requests: usize,
}

impl Load {
    pub(super) fn start(site: &Site, tally: &Arc<Tally>) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let made = Arc::new(Mutex::new(Made::default()));
        let mut count = 0;
        let mut worker = || {
            count += 1;
            Worker {
                address: site.haproxy.address().to_string(),
                trusted: site.trusted.clone(),
                credentials: Arc::clone(&site.client),
                protocol: if count % 2 == 0 { Protocol::H2 } else { Protocol::H1 },
                tally: Arc::clone(tally),
                connection: None,
                requests: 0,
            }
        };
        let mut tasks = Vec::new();
        for _ in 0..CACHED_CLIENTS {
            let (worker, ended, made) = (worker(), Arc::clone(&ended), Arc::clone(&made));
            tasks.push(tokio::spawn(use_keys(worker, ended, made)));
        }
        let next = Arc::new(AtomicUsize::new(0));
        for _ in 0..COLD_CLIENTS {
            let (worker, ended, made) = (worker(), Arc::clone(&ended), Arc::clone(&made));
            tasks.push(tokio::spawn(meet_keys(worker, ended, made, Arc::clone(&next))));
        }
        for number in 0..PAIRS {
            let pair = [worker(), worker()];
            let (ended, made) = (Arc::clone(&ended), Arc::clone(&made));
            tasks.push(tokio::spawn(create_keys(pair, number, ended, made)));
        }
        Self { ended, made, tasks }
    }

    /// Ends the load. Fails if a client met a wrong answer.
    pub(super) async fn finish(self) -> Made {
        self.ended.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        std::mem::take(&mut self.made.lock().unwrap())
    }
}

/// Makes data keys of keys in use, and opens those that anybody made.
async fn use_keys(mut worker: Worker, ended: Arc<AtomicBool>, made: Arc<Mutex<Made>>) {
    let mut turn = 0;
    while !ended.load(Ordering::Relaxed) {
        let data_key = worker.generate(Class::Cached, USED[turn % USED.len()]).await;
        let other = {
            let mut made = made.lock().unwrap();
            made.used.push(data_key);
            made.used[turn * 31 % made.used.len()].clone()
        };
        time::sleep(CACHED_REST).await;
        worker.open(Class::Cached, &other).await;
        time::sleep(CACHED_REST).await;
        turn += 1;
    }
}

/// Makes a data key of one key after the other that no server has in memory.
async fn meet_keys(
    mut worker: Worker,
    ended: Arc<AtomicBool>,
    made: Arc<Mutex<Made>>,
    next: Arc<AtomicUsize>,
) {
    while !ended.load(Ordering::Relaxed) {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let data_key = worker.generate(Class::Cold, &cold(number)).await;
        made.lock().unwrap().cold.push(data_key);
        time::sleep(COLD_REST).await;
    }
}

/// Two clients create one key after the other at the same time, most often on two servers.
async fn create_keys(
    [mut a, mut b]: [Worker; 2],
    pair: usize,
    ended: Arc<AtomicBool>,
    made: Arc<Mutex<Made>>,
) {
    let mut round = 0;
    while !ended.load(Ordering::Relaxed) {
        let key = format!("made-{pair}-{round:04}");
        let since = a.tally.now();
        let (by_a, by_b) = tokio::join!(a.create(&key), b.create(&key));
        round += 1;
        let won = [&by_a, &by_b].iter().filter(|by| by.won).count();
        assert!(won <= 1, "both made {key}");
        if by_a.gave_up || by_b.gave_up {
            made.lock().unwrap().given_up.push((key, since..a.tally.now()));
            continue;
        }
        // Who was not answered may have made it all the same.
        assert!(won == 1 || by_a.unsure || by_b.unsure, "nobody made {key}");
        let (of_a, of_b) =
            tokio::join!(a.generate(Class::Fresh, &key), b.generate(Class::Fresh, &key));
        // Both hold the same key.
        a.open(Class::Fresh, &of_b).await;
        b.open(Class::Fresh, &of_a).await;
        made.lock().unwrap().created.extend([of_a, of_b]);
        time::sleep(CREATE_REST).await;
    }
}

/// How a create ended.
#[derive(Default)]
struct Created {
    /// With 200; else the key was there.
    won: bool,
    /// With neither in time.
    gave_up: bool,
    /// Whether a try before that one ended without an answer, or with one of 5xx.
    unsure: bool,
}

impl Worker {
    async fn create(&mut self, key: &str) -> Created {
        let path = format!("/v1/key/create/{key}");
        let call = self.call(Class::Create, &path, String::new());
        let Ok((reply, tries)) = time::timeout(GIVE_UP, call).await else {
            self.connection = None;
            self.tally.note(Class::Create, End::GivenUp);
            return Created { gave_up: true, ..Created::default() };
        };
        if reply.status != 200 {
            assert_eq!(reply.error(), (400, "key already exists".to_owned()), "{key}");
        }
        Created { won: reply.status == 200, gave_up: false, unsure: tries > 1 }
    }

    async fn generate(&mut self, class: Class, key: &str) -> DataKey {
        let context = BASE64.encode_to_string(format!("bucket/{key}/{}", self.requests));
        let body = json!({ "context": context }).to_string();
        let (reply, _) = self.call(class, &format!("/v1/key/generate/{key}"), body).await;
        assert_eq!(reply.status, 200, "{key}: {reply:?}");
        let answer = reply.json();
        let (plaintext, ciphertext) = (text(&answer, "plaintext"), text(&answer, "ciphertext"));
        DataKey { key: key.to_owned(), plaintext, ciphertext, context }
    }

    /// Opens a data key; fails if it is not the one that was made.
    async fn open(&mut self, class: Class, data_key: &DataKey) {
        let path = format!("/v1/key/decrypt/{}", data_key.key);
        let (reply, _) = self.call(class, &path, data_key.question()).await;
        data_key.is_in(&reply);
    }

    /// Sends a request until it is answered, with something else than 5xx; how many tries that
    /// took.
    async fn call(&mut self, class: Class, path: &str, body: String) -> (Reply, usize) {
        let since = self.tally.now();
        let mut tries = 1;
        loop {
            match time::timeout(ANSWER, self.send(path, body.clone())).await {
                Ok(Ok(reply)) if reply.status < 500 => {
                    self.tally.note(class, End::Answered { since });
                    return (reply, tries);
                }
                Ok(Ok(_)) => self.tally.note(class, End::Refused),
                Ok(Err(_)) | Err(_) => {
                    self.connection = None;
                    self.tally.note(class, End::Broken);
                }
            }
            assert!(self.tally.now() - since < LIMIT, "no answer to {path}");
            tries += 1;
            time::sleep(RETRY).await;
        }
    }

    async fn send(&mut self, path: &str, body: String) -> Result<Reply, String> {
        self.requests += 1;
        if self.requests.is_multiple_of(REQUESTS_EACH) {
            self.connection = None;
        }
        if self.connection.is_none() {
            let credentials = Some(&*self.credentials);
            let made = Client::connect(&self.address, &self.trusted, credentials, self.protocol);
            self.connection = Some(made.await?);
        }
        let connection = self.connection.as_mut().expect("it was made");
        connection.try_send("PUT", path, &[], body.into()).await
    }
}

impl DataKey {
    fn question(&self) -> String {
        json!({ "ciphertext": self.ciphertext, "context": self.context }).to_string()
    }

    fn is_in(&self, reply: &Reply) {
        assert_eq!(reply.status, 200, "{}: {reply:?}", self.key);
        assert_eq!(text(&reply.json(), "plaintext"), self.plaintext, "{}", self.key);
    }
}

impl Made {
    /// Each server itself opens what any of them made: of keys that were created all, of the
    /// others a part each.
    pub(super) async fn open_everywhere(&self, site: &Site) {
        let all = || self.used.iter().chain(&self.cold).chain(&self.created);
        let plaintexts: HashSet<&str> = all().map(|data_key| data_key.plaintext.as_str()).collect();
        assert_eq!(plaintexts.len(), all().count(), "each data key is a new one");

        let count = site.servers.len();
        let mut tasks = Vec::new();
        for (number, server) in site.servers.iter().enumerate() {
            let part = |list: &[DataKey], step: usize| -> Vec<DataKey> {
                list.iter().skip(number).step_by(step).cloned().collect()
            };
            let mut wanted = self.created.clone();
            wanted.extend(part(&self.cold, count));
            wanted.extend(part(&self.used, 10 * count));
            let client = site.connect(&server.address, Protocol::H2).await.unwrap();
            for stream in wanted.chunks(wanted.len().div_ceil(16)) {
                let (mut client, stream) = (client.share(), stream.to_vec());
                tasks.push(tokio::spawn(async move {
                    for data_key in stream {
                        let path = format!("/v1/key/decrypt/{}", data_key.key);
                        data_key.is_in(&client.send("PUT", &path, &data_key.question()).await);
                    }
                }));
            }
        }
        for task in tasks {
            task.await.unwrap();
        }
    }
}

impl Made {
    /// How many keys were given up while a server of ours was killed: on KV v1 a server that dies
    /// while it creates a key keeps its name from everybody for two minutes.
    pub(super) fn given_up_in(&self, kills: &Range<Duration>) -> usize {
        self.given_up.iter().filter(|(_, tried)| overlap(tried, kills)).count()
    }

    /// The other keys that were given up and that cannot be created now, when all is well.
    pub(super) async fn held_up(
        &self,
        site: &Site,
        kills: &Range<Duration>,
    ) -> Vec<(String, Range<Duration>)> {
        let client = site.connect(&site.servers[1].address, Protocol::H2).await.unwrap();
        let mut tasks = Vec::new();
        let others = self.given_up.iter().filter(|(_, tried)| !overlap(tried, kills));
        for (key, tried) in others.cloned() {
            let mut client = client.share();
            tasks.push(tokio::spawn(async move {
                let path = format!("/v1/key/create/{key}");
                let start = time::Instant::now();
                while start.elapsed() < SETTLED {
                    let reply = client.send("PUT", &path, "").await;
                    match reply.status {
                        200 => return None,
                        // The server waits as long as a request may take, and says so then.
                        502 => {}
                        _ => {
                            assert_eq!(reply.error(), (400, "key already exists".to_owned()));
                            return None;
                        }
                    }
                }
                Some((key, tried))
            }));
        }
        let mut held_up = Vec::new();
        for task in tasks {
            held_up.extend(task.await.unwrap());
        }
        held_up
    }
}

fn overlap(a: &Range<Duration>, b: &Range<Duration>) -> bool {
    a.start < b.end && b.start < a.end
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("no text '{field}': {value}")).to_owned()
}
