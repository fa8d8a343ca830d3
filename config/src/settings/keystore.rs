use kes_keystore::config::{AppRoleSecret, Jwt, Login};

use super::Settings;
use crate::listing::shown;

impl Settings {
    pub(super) fn keystore(&mut self, keystore: &kes_keystore::Config) {
        match keystore {
            kes_keystore::Config::Fs(kes_keystore::config::Fs { path, id }) => {
                self.path("keystore.fs.path", path);
                if let Some(id) = id {
                    self.show("keystore.fs.id", id);
                }
            }
            kes_keystore::Config::Vault(vault) => self.vault(vault),
        }
    }

    /// Names within Vault are no secrets, but no log names them either.
    fn vault(&mut self, vault: &kes_keystore::config::Vault) {
        let kes_keystore::config::Vault {
            endpoints,
            engine,
            engine_place: _,
            version,
            namespace,
            prefix,
            transit,
            login,
            tls,
            proxies,
            ping,
        } = vault;
        self.names("keystore.vault.endpoint", endpoints.iter().map(ToString::to_string));
        self.hide("keystore.vault.engine", engine);
        self.show(
            "keystore.vault.version",
            match version {
                kes_keystore::config::KvVersion::V1 => "v1",
                kes_keystore::config::KvVersion::V2 => "v2",
            },
        );
        self.hide("keystore.vault.namespace", namespace);
        self.hide("keystore.vault.prefix", prefix);
        if let Some(kes_keystore::config::Transit { engine, key }) = transit {
            self.hide("keystore.vault.transit.engine", engine);
            self.hide("keystore.vault.transit.key", key);
        }
        self.login(login);
        let kes_keystore::config::VaultTls { client, ca, ca_pem, server_name } = tls;
        if let Some((key, cert)) = client {
            self.file("keystore.vault.tls.key", key);
            self.file("keystore.vault.tls.cert", cert);
        }
        if let Some(ca) = ca {
            self.file("keystore.vault.tls.ca", ca);
        }
        if let Some(pem) = ca_pem {
            self.hide("VAULT_CACERT_BYTES", pem);
        }
        if let Some(name) = server_name {
            self.hide("keystore.vault.tls.server_name", format!("{name:?}"));
        }
        let is_hidden = self.variables.set("keystore.vault.endpoint");
        for (number, proxy) in (1..).zip(proxies) {
            let endpoint =
                if is_hidden { format!("endpoint {number}") } else { shown(&proxy.origin) };
            self.secret(format!("keystore.vault.proxy of {endpoint}"), &proxy.url);
        }
        self.show("keystore.vault.status.ping", format_args!("{ping:?}"));
    }

    fn login(&mut self, login: &Login) {
        match login {
            Login::AppRole { engine, namespace, id, secret } => {
                self.hide("keystore.vault.approle.engine", engine);
                self.hide("keystore.vault.approle.namespace", namespace);
                self.hide("keystore.vault.approle.id", id);
                match secret {
                    AppRoleSecret::Literal(secret) => {
                        self.secret("keystore.vault.approle.secret", secret);
                    }
                    AppRoleSecret::File(path) => {
                        self.path("keystore.vault.approle.secret_file", path);
                    }
                }
            }
            Login::Kubernetes { engine, namespace, role, jwt } => {
                self.hide("keystore.vault.kubernetes.engine", engine);
                self.hide("keystore.vault.kubernetes.namespace", namespace);
                self.hide("keystore.vault.kubernetes.role", role);
                match jwt {
                    Jwt::Literal(token) => self.secret("keystore.vault.kubernetes.jwt", token),
                    // It may be a damaged token.
                    Jwt::File(path) => self.hide("keystore.vault.kubernetes.jwt", &**path),
                }
            }
        }
    }
}
