//! What a worker knows of its keys from the answers that it was given.

use serde_json::json;

use super::super::work::DataKey;
use crate::harness::{Client, Reply};

/// What is known of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// A create was acknowledged, or the key was used since.
    Present,
    /// A delete was acknowledged after all else.
    Absent,
    /// The answer to a create was lost: it may be there, or come.
    MayCome,
    /// The answer to a delete was lost: it may be there, and go. Such a name is not used again
    /// for another key: Vault may carry the delete out late.
    MayGo,
}

/// A name, its data keys and those of an earlier key of the same name.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) state: State,
    pub(super) made: Vec<DataKey>,
    /// Of a key that was deleted: they can be opened by nobody.
    pub(super) lost: Vec<DataKey>,
}

impl Key {
    /// A name that nobody has used.
    pub(super) fn new(name: String) -> Self {
        Self { name, state: State::Absent, made: Vec::new(), lost: Vec::new() }
    }

    /// The key that was there is gone for good.
    pub(super) fn is_gone(&mut self) {
        self.lost.append(&mut self.made);
    }

    /// Whether a read may say that there is no such key.
    pub(super) fn may_be_absent(&self) -> bool {
        self.state != State::Present
    }

    /// Whether a read may succeed.
    pub(super) fn may_be_present(&self) -> bool {
        self.state != State::Absent
    }

    /// What is wrong with the answer to a decrypt of one of its data keys.
    pub(super) fn judge(&self, made: &DataKey, is_lost: bool, reply: &Reply) -> Option<String> {
        let name = &self.name;
        match reply.status {
            200 if is_lost => Some(format!("'{name}': a data key of a deleted key was opened")),
            200 if reply.json()["plaintext"] != made.plaintext.as_str() => {
                Some(format!("'{name}': another plaintext"))
            }
            200 if self.may_be_present() => None,
            404 if self.may_be_absent() => None,
            // Another key has the name now.
            400 if is_lost => None,
            502..=504 => None,
            status => {
                let (state, message) = (self.state, reply.message());
                Some(format!("'{name}' ({state:?}): decrypt {status} {message}"))
            }
        }
    }
}

/// All names of a worker.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) keys: Vec<Key>,
}

impl Model {
    /// What is wrong when all faults are over: each data key of each key that was not deleted can
    /// be opened, and what was deleted is not there.
    pub(super) async fn verify(&self, client: &mut Client) -> Vec<String> {
        let mut wrong = Vec::new();
        for key in &self.keys {
            let all = key.made.iter().map(|made| (made, false));
            for (made, is_lost) in all.chain(key.lost.iter().map(|made| (made, true))) {
                let reply = decrypt(client, &key.name, made).await.unwrap();
                if reply.status >= 500 {
                    wrong.push(format!("'{}': {} without a fault", key.name, reply.status));
                }
                wrong.extend(key.judge(made, is_lost, &reply));
            }
            let path = format!("/v1/key/describe/{}", key.name);
            let status = client.send("GET", &path, "").await.status;
            let expected = match key.state {
                State::Present => status == 200,
                State::Absent => status == 404,
                State::MayCome | State::MayGo => status == 200 || status == 404,
            };
            if !expected {
                wrong.push(format!("'{}' ({:?}): describe {status}", key.name, key.state));
            }
        }
        wrong
    }
}

pub(super) async fn decrypt(
    client: &mut Client,
    name: &str,
    made: &DataKey,
) -> Result<Reply, String> {
    let body = json!({ "ciphertext": made.ciphertext, "context": made.context }).to_string();
    client.try_send("PUT", &format!("/v1/key/decrypt/{name}"), &[], body.into()).await
}
