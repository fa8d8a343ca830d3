use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::Bao;
use crate::{Answer, wait};

/// A namespace of a server, and what an operator does in it with the root token.
#[derive(Debug)]
pub struct Space<'a> {
    bao: &'a Bao,
    path: String,
}

/// What an AppRole login needs.
#[derive(Clone, Debug)]
pub struct RoleCredentials {
    /// The role ID.
    pub role_id: String,
    /// The secret ID.
    pub secret_id: String,
}

impl<'a> Space<'a> {
    pub(super) fn new(bao: &'a Bao, path: &str) -> Self {
        Self { bao, path: path.to_owned() }
    }

    /// Its path; empty for the root namespace.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Sends a request; `path` is what follows `/v1/`.
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.bao.request(None, &self.path, method, path, body)
    }

    /// As [`Space::request`], for what has to succeed.
    ///
    /// # Panics
    /// If it does not.
    pub fn must(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let answer = self.request(method, path, body);
        assert!(
            answer.is_success(),
            "{method} {path}: {} {}",
            answer.status,
            String::from_utf8_lossy(&answer.bytes)
        );
        answer
    }

    /// Makes a namespace in this one.
    pub fn create_namespace(&self, name: &str) -> Self {
        self.must("POST", &format!("sys/namespaces/{name}"), None);
        let path =
            if self.path.is_empty() { name.to_owned() } else { format!("{}/{name}", self.path) };
        Self { bao: self.bao, path }
    }

    /// Mounts a KV engine of version 1 or 2 and waits until it is ready.
    pub fn enable_kv(&self, engine: &str, version: u8) {
        let body = json!({ "type": "kv", "options": { "version": version.to_string() } });
        self.must("POST", &format!("sys/mounts/{engine}"), Some(&body));
        // Version 2 sets itself up in the background and refuses calls until then.
        let probe =
            if version == 2 { format!("{engine}/config") } else { format!("{engine}/none") };
        wait::eventually(Duration::from_secs(30), "the KV engine is ready", || {
            matches!(self.request("GET", &probe, None).status, 200 | 404)
        });
    }

    /// Mounts a transit engine with a key in it.
    pub fn enable_transit(&self, engine: &str, key: &str) {
        self.must("POST", &format!("sys/mounts/{engine}"), Some(&json!({ "type": "transit" })));
        self.must("POST", &format!("{engine}/keys/{key}"), None);
    }

    /// Gives a transit key a new version.
    pub fn rotate_transit(&self, engine: &str, key: &str) {
        self.must("POST", &format!("{engine}/keys/{key}/rotate"), None);
    }

    /// Writes a policy.
    pub fn write_policy(&self, name: &str, text: &str) {
        self.must("PUT", &format!("sys/policies/acl/{name}"), Some(&json!({ "policy": text })));
    }

    /// Mounts AppRole logins.
    pub fn enable_app_role(&self, engine: &str) {
        self.must("POST", &format!("sys/auth/{engine}"), Some(&json!({ "type": "approle" })));
    }

    /// Makes a role whose tokens have one policy (beside `default`) and live for `ttl`, for
    /// ever if it is zero.
    pub fn create_role(
        &self,
        engine: &str,
        name: &str,
        policy: &str,
        ttl: Duration,
    ) -> RoleCredentials {
        let role = format!("auth/{engine}/role/{name}");
        let body =
            json!({ "token_policies": [policy], "token_ttl": format!("{}s", ttl.as_secs()) });
        self.must("POST", &role, Some(&body));
        let role_id = self.must("GET", &format!("{role}/role-id"), None).json();
        RoleCredentials {
            role_id: text(&role_id["data"]["role_id"]),
            secret_id: self.create_secret_id(engine, name),
        }
    }

    /// Changes fields of a role, such as `token_max_ttl` or `token_type`.
    pub fn change_role(&self, engine: &str, name: &str, fields: &Value) {
        self.must("POST", &format!("auth/{engine}/role/{name}"), Some(fields));
    }

    /// Makes one more secret ID for a role.
    pub fn create_secret_id(&self, engine: &str, name: &str) -> String {
        let path = format!("auth/{engine}/role/{name}/secret-id");
        text(&self.must("POST", &path, None).json()["data"]["secret_id"])
    }

    /// Mounts Kubernetes logins that ask the API server at `host` (a URL) about tokens, with a
    /// role for every service account of every namespace.
    pub fn enable_kubernetes(&self, engine: &str, host: &str, role: &str, policy: &str) {
        self.must("POST", &format!("sys/auth/{engine}"), Some(&json!({ "type": "kubernetes" })));
        let ca = std::fs::read_to_string(crate::Authority::new().certificate());
        let config = json!({
            "kubernetes_host": host,
            // Never looked at: the host speaks plain HTTP.
            "kubernetes_ca_cert": ca.expect("the CA's certificate can be read"),
            "token_reviewer_jwt": crate::kubernetes::token("reviewer"),
            "disable_local_ca_jwt": true,
        });
        self.must("POST", &format!("auth/{engine}/config"), Some(&config));
        let body = json!({
            "bound_service_account_names": ["*"],
            "bound_service_account_namespaces": ["*"],
            "token_policies": [policy],
            "token_ttl": "1h",
        });
        self.must("POST", &format!("auth/{engine}/role/{role}"), Some(&body));
    }

    /// Revokes every token that a login engine has issued.
    pub fn revoke_tokens(&self, engine: &str) {
        self.must("PUT", &format!("sys/leases/revoke-force/auth/{engine}"), None);
    }

    /// The tokens that a login engine has issued and that are alive, each by a name that says
    /// nothing of it.
    pub fn tokens(&self, engine: &str) -> Vec<String> {
        let answer = self.request("LIST", &format!("sys/leases/lookup/auth/{engine}/login"), None);
        let answer = answer.json();
        answer["data"]["keys"].as_array().into_iter().flatten().map(text).collect()
    }

    /// Reads a path: the field `data` of the answer, if there is something.
    pub fn read(&self, path: &str) -> Option<Value> {
        let answer = self.request("GET", path, None);
        answer.is_success().then(|| answer.json()["data"].take())
    }

    /// Writes to a path.
    pub fn write(&self, path: &str, body: &Value) {
        self.must("POST", path, Some(body));
    }

    /// Deletes a path.
    pub fn delete(&self, path: &str) {
        self.must("DELETE", path, None);
    }

    /// The names in a folder; empty if there is none.
    pub fn list(&self, path: &str) -> Vec<String> {
        let answer = self.request("GET", &format!("{path}?list=true"), None).json();
        let names = answer["data"]["keys"].as_array();
        names.into_iter().flatten().map(text).collect()
    }
}

/// The policies for a KV engine that operators were told to grant, and nothing more. There is no
/// right to overwrite in any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvPolicy {
    /// KV version 1.
    V1,
    /// KV version 1, one tenant of several: no right to list.
    V1Tenant,
    /// KV version 2: no right to read metadata.
    V2,
    /// KV version 2, one tenant of several.
    V2Tenant,
}

impl KvPolicy {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::V1, Self::V1Tenant, Self::V2, Self::V2Tenant];

    /// Of the engine: 1 or 2.
    pub fn version(self) -> u8 {
        match self {
            Self::V1 | Self::V1Tenant => 1,
            Self::V2 | Self::V2Tenant => 2,
        }
    }

    /// The prefix of the keys, without a `/` at either end.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::V1 | Self::V2 => "",
            Self::V1Tenant | Self::V2Tenant => "tenant/minio",
        }
    }

    /// Whether keys may be listed.
    pub fn lists(self) -> bool {
        self != Self::V1Tenant
    }

    /// The policy, for the engine at this path.
    pub fn text(self, engine: &str) -> String {
        let prefix = self.prefix();
        let place = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let rights: &[(&str, &str)] = match self {
            Self::V1 => &[("", r#""create", "read", "delete", "list""#)],
            Self::V1Tenant => &[("", r#""create", "read", "delete""#)],
            Self::V2 | Self::V2Tenant => {
                &[("data/", r#""create", "read""#), ("metadata/", r#""list", "delete""#)]
            }
        };
        rights.iter().fold(String::new(), |mut policy, (kind, rights)| {
            writeln!(policy, "path \"{engine}/{kind}{place}*\" {{ capabilities = [{rights}] }}")
                .expect("a text grows");
            policy
        })
    }
}

/// The policy for a KV engine of version 1 or 2 without prefix, and nothing more.
pub fn minimal_kv_policy(engine: &str, version: u8) -> String {
    if version == 1 { KvPolicy::V1.text(engine) } else { KvPolicy::V2.text(engine) }
}

/// The policy for one key of a transit engine.
pub fn minimal_transit_policy(engine: &str, key: &str) -> String {
    ["encrypt", "decrypt"].iter().fold(String::new(), |mut policy, verb| {
        writeln!(policy, "path \"{engine}/{verb}/{key}\" {{ capabilities = [\"update\"] }}")
            .expect("a text grows");
        policy
    })
}

fn text(value: &Value) -> String {
    value.as_str().expect("OpenBao answers with texts").to_owned()
}
