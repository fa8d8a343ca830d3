//! A real OpenBao set up as the guide says, and a server of ours that is configured for it.

use base64_simd::STANDARD as BASE64;
use kes_testkit::bao::{KvPolicy, RoleCredentials, minimal_kv_policy};
use kes_testkit::{Authority, Bao, Space};
use serde_json::{Value, json};

use crate::harness::{Config, Server};

/// The guide's policy of MinIO, and one for whoever looks after the keys. `describe` is not in
/// the guide's.
const POLICIES: &str = "
  minio:
    allow:
    - /v1/key/create/*
    - /v1/key/generate/*
    - /v1/key/decrypt/*
    - /v1/key/bulk/decrypt
    - /v1/key/list/*
    - /v1/status
    - /v1/metrics
    - /v1/log/audit
    - /v1/log/error
    identities:
    - ${MINIO}
  operator:
    allow:
    - /v1/key/import/*
    - /v1/key/describe/*
    - /v1/key/delete/*
    - /v1/key/hmac/*
    - /v1/ready
    identities:
    - ${OTHER}";

/// Where and how keys stand in Vault.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Of the KV engine: 1 or 2.
    pub(super) version: u8,
    /// As it is written in the configuration, with or without `/` at its ends.
    pub(super) engine: &'static str,
    pub(super) prefix: &'static str,
    pub(super) namespace: &'static str,
    pub(super) transit: bool,
    pub(super) tls: bool,
    /// The policy for keys.
    pub(super) policy: Policy,
}

/// A policy for keys.
#[derive(Clone, Copy, Debug)]
pub(super) enum Policy {
    /// What the guide grants for the whole engine.
    Guide,
    /// One of those that operators were told to grant; its prefix is that of the keys.
    Documented(KvPolicy),
    /// The guide's, and the right to overwrite.
    Update,
}

impl Layout {
    /// Of the guide.
    pub(super) const V1: Self = Self {
        version: 1,
        engine: "kv/",
        prefix: "",
        namespace: "",
        transit: false,
        tls: true,
        policy: Policy::Guide,
    };
    pub(super) const V2: Self = Self { version: 2, engine: "kv", tls: false, ..Self::V1 };
}

/// An OpenBao that an operator has set up for keys.
#[derive(Debug)]
pub(super) struct World {
    pub(super) bao: Bao,
    pub(super) role: RoleCredentials,
    layout: Layout,
    authority: Option<Authority>,
}

impl World {
    pub(super) fn new(layout: Layout) -> Self {
        let authority = layout.tls.then(Authority::new);
        let bao = match &authority {
            Some(authority) => Bao::start_tls(authority, false),
            None => Bao::start(),
        };
        if !layout.namespace.is_empty() {
            bao.root().create_namespace(layout.namespace);
        }
        let space = bao.namespace(layout.namespace);
        let engine = layout.engine.trim_matches('/');
        let mut set_up = space.set_up().kv(engine, layout.version);
        set_up = match layout.policy {
            Policy::Guide => set_up,
            Policy::Documented(policy) => set_up.granting_only(&policy.text(engine)),
            Policy::Update => set_up.granting_only(
                &minimal_kv_policy(engine, layout.version)
                    .replace("\"create\",", "\"create\", \"update\","),
            ),
        };
        if layout.transit {
            set_up = set_up.transit("transit", "wrap");
        }
        let role = set_up.app_role();
        Self { bao, role, layout, authority }
    }

    /// The namespace that the keys are in.
    pub(super) fn space(&self) -> Space<'_> {
        self.bao.namespace(self.layout.namespace)
    }

    /// The CA of a Vault that speaks TLS.
    pub(super) fn authority(&self) -> &Authority {
        self.authority.as_ref().unwrap()
    }

    /// The guide's configuration.
    pub(super) fn config(&self) -> Config {
        self.config_at(&self.bao.url())
    }

    /// The same with another address of Vault.
    pub(super) fn config_at(&self, endpoint: &str) -> Config {
        Config::usual()
            .with("admin", "{ identity: disabled }")
            .with("policy", POLICIES)
            .with("keystore", &self.keystore(endpoint, "${APPROLE_SECRET}"))
            .env("APPROLE_ID", &self.role.role_id)
            .env("APPROLE_SECRET", &self.role.secret_id)
    }

    /// The same with a secret that stands in the file.
    pub(super) fn config_with_secret(&self, secret: &str) -> Config {
        self.config().with("keystore", &self.keystore(&self.bao.url(), secret))
    }

    /// The configuration's section `keystore`.
    pub(super) fn keystore(&self, endpoint: &str, secret: &str) -> String {
        let Layout { version, engine, prefix, namespace, transit, .. } = self.layout;
        let mut text = format!(
            r#"
  vault:
    endpoint: {endpoint}
    engine: "{engine}"
    version: "v{version}"
    namespace: "{namespace}"
    prefix: "{prefix}"
    approle:
      id: "${{APPROLE_ID}}"
      secret: "{secret}"
      retry: 15s
    status:
      ping: 10s"#
        );
        if transit {
            text += "\n    transit: { engine: transit, key: wrap }";
        }
        if let Some(authority) = &self.authority {
            text += &format!("\n    tls: {{ ca: \"{}\" }}", authority.certificate().display());
        }
        text
    }

    /// A server with the guide's configuration.
    pub(super) fn serve(&self) -> Server {
        Server::with(&self.config())
    }

    /// What stands in Vault for a key, as it is.
    pub(super) fn secret(&self, name: &str) -> Option<String> {
        let data = self.space().read(&self.path("data", name))?;
        let fields = match self.layout.version {
            1 => &data,
            _ => {
                assert_eq!(data["metadata"]["version"], 1, "nothing was written over");
                &data["data"]
            }
        };
        let fields = fields.as_object().unwrap();
        assert_eq!(fields.keys().collect::<Vec<_>>(), [name], "one field, named like the key");
        Some(fields[name].as_str().unwrap().to_owned())
    }

    /// What stands in Vault for a key, unwrapped if transit wrapped it.
    pub(super) fn stored(&self, name: &str) -> Option<String> {
        let secret = self.secret(name)?;
        assert_eq!(secret.starts_with("vault:v"), self.layout.transit, "{secret}");
        Some(if self.layout.transit { self.unwrap(&secret) } else { secret })
    }

    /// Puts a text where the key store expects a key.
    pub(super) fn put(&self, name: &str, text: &str) {
        let fields = json!({ name: text });
        let body = if self.layout.version == 1 { fields } else { json!({ "data": fields }) };
        self.space().write(&self.path("data", name), &body);
    }

    /// Wraps a text with the newest version of the transit key.
    pub(super) fn wrap(&self, text: &str) -> String {
        let body = json!({ "plaintext": BASE64.encode_to_string(text) });
        let answer = self.space().must("POST", "transit/encrypt/wrap", Some(&body)).json();
        answer["data"]["ciphertext"].as_str().unwrap().to_owned()
    }

    fn unwrap(&self, wrapped: &str) -> String {
        let body = json!({ "ciphertext": wrapped });
        let answer = self.space().must("POST", "transit/decrypt/wrap", Some(&body)).json();
        let text = answer["data"]["plaintext"].as_str().unwrap();
        String::from_utf8(BASE64.decode_to_vec(text).unwrap()).unwrap()
    }

    /// All that stands where keys do, by name.
    pub(super) fn names(&self) -> Vec<String> {
        self.space().list(self.path("metadata", "").trim_end_matches('/'))
    }

    /// A path of the KV engine; `kind` is what version 2 has after the engine.
    fn path(&self, kind: &str, name: &str) -> String {
        let kind = if self.layout.version == 1 { "" } else { kind };
        [self.layout.engine, kind, self.layout.prefix, name]
            .map(|part| part.trim_matches('/'))
            .iter()
            .filter(|part| !part.is_empty())
            .copied()
            .collect::<Vec<_>>()
            .join("/")
    }
}

/// Fails if a server wrote one of these texts.
pub(super) fn told_nothing_of(server: &Server, secrets: &[&str]) {
    for (stream, text) in
        [("standard output", server.stdout()), ("standard error", server.stderr())]
    {
        for secret in secrets {
            assert!(!text.contains(secret), "a secret is on {stream}: {text}");
        }
    }
}

/// A text field of an answer.
pub(super) fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("no text '{field}': {value}")).to_owned()
}

/// A figure, shown with `--nocapture`.
#[expect(clippy::print_stderr, reason = "what a test measured is for who runs it")]
pub(super) fn tell(figure: &str) {
    eprintln!("{figure}");
}
