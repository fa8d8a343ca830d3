//! A real OpenBao, a role in it, and a configuration for both.

use kes_testkit::Bao;
use kes_testkit::bao::{RoleCredentials, minimal_kv_policy, minimal_transit_policy};
use serde_json::json;

use super::Place;

/// An OpenBao with a KV engine `kv`, a transit key `wrap`, and a role.
#[derive(Debug)]
pub(super) struct World {
    pub(super) bao: Bao,
    pub(super) role: RoleCredentials,
    pub(super) place: Place,
    version: u8,
}

/// The policy of the guide.
pub(super) fn policy(version: u8, transit: bool) -> String {
    let transit = if transit { minimal_transit_policy("transit", "wrap") } else { String::new() };
    minimal_kv_policy("kv", version) + &transit
}

/// The sections of a configuration beside the key store.
pub(super) const HEAD: &str = "admin: { identity: disabled }\n\
    address: 127.0.0.1:0\n\
    tls: { key: server.key, cert: server.crt }\n";

/// The section of a key store in Vault; `more` are further fields of it in flow style.
pub(super) fn keystore(url: &str, version: u8, more: &str) -> String {
    format!(
        "keystore: {{ vault: {{ endpoint: \"{url}\", version: v{version}, \
         approle: {{ id: \"${{ID}}\", secret: \"${{SECRET}}\" }}{more} }} }}\n"
    )
}

impl World {
    pub(super) fn new(version: u8, transit: bool) -> Self {
        Self::on(Bao::start_in_memory(), version, transit, &policy(version, transit))
    }

    pub(super) fn with_policy(version: u8, transit: bool, policy: &str) -> Self {
        Self::on(Bao::start_in_memory(), version, transit, policy)
    }

    pub(super) fn on(bao: Bao, version: u8, transit: bool, policy: &str) -> Self {
        let root = bao.root();
        let engines = root.set_up().kv("kv", version).transit("transit", "wrap");
        let role = engines.granting_only(policy).app_role();
        let more = if transit { ", transit: { engine: transit, key: wrap }" } else { "" };
        let mut place = Place::new(&format!("{HEAD}{}", keystore(&bao.url(), version, more)));
        place.env.push(("ID".to_owned(), role.role_id.clone()));
        place.env.push(("SECRET".to_owned(), role.secret_id.clone()));
        place.secrets.push(role.secret_id.clone());
        place.secrets.push(bao.root_token().to_owned());
        Self { bao, role, place, version }
    }

    /// Replaces the role's policy.
    pub(super) fn grant(&self, policy: &str) {
        self.bao.root().write_policy("kes", policy);
    }

    /// Nothing stands where keys do, nor where claims do, and no token lives.
    pub(super) fn is_untouched(&self) {
        assert_eq!(self.names(), [""; 0]);
        assert_eq!(self.bao.root().tokens("approle"), [""; 0], "a token was not given back");
    }

    /// All that stands in the KV engine.
    pub(super) fn names(&self) -> Vec<String> {
        let (root, folder) =
            (self.bao.root(), if self.version == 1 { "kv" } else { "kv/metadata" });
        root.list(folder)
    }

    /// Puts a key there.
    pub(super) fn put(&self, name: &str) {
        let fields = json!({ name: "text" });
        match self.version {
            1 => self.bao.root().write(&format!("kv/{name}"), &fields),
            _ => self.bao.root().write(&format!("kv/data/{name}"), &json!({ "data": fields })),
        }
    }
}
