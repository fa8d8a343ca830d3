use kes_keystore::config::{AppRoleSecret, Jwt, Login, Migration};

use super::Settings;
use crate::listing::shown;

impl Settings {
    /// Those of a key store that stands in a section.
    pub(super) fn keystore(&mut self, section: &str, keystore: &kes_keystore::Config) {
        match keystore {
            kes_keystore::Config::Fs(kes_keystore::config::Fs { path, id }) => {
                self.path(format!("{section}.fs.path"), path);
                if let Some(id) = id {
                    self.show(format!("{section}.fs.id"), id);
                }
            }
            kes_keystore::Config::Vault(vault) => self.vault(&format!("{section}.vault"), vault),
        }
    }

    pub(super) fn migration(&mut self, migration: Option<&Migration>) {
        let Some(Migration { to, place: _, stage }) = migration else { return };
        self.keystore("migration.to", to);
        self.show("migration.read", stage.read.word());
        self.show("migration.write", stage.write.word());
        self.show("migration.compare", stage.compare);
    }

    /// Names within Vault are no secrets, but no log names them either.
    fn vault(&mut self, section: &str, vault: &kes_keystore::config::Vault) {
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
        self.names(format!("{section}.endpoint"), endpoints.iter().map(ToString::to_string));
        self.hide(format!("{section}.engine"), engine);
        self.show(format!("{section}.version"), version.word());
        self.hide(format!("{section}.namespace"), namespace);
        self.hide(format!("{section}.prefix"), prefix);
        if let Some(kes_keystore::config::Transit { engine, key }) = transit {
            self.hide(format!("{section}.transit.engine"), engine);
            self.hide(format!("{section}.transit.key"), key);
        }
        self.login(section, login);
        let kes_keystore::config::VaultTls { client, ca, ca_pem, server_name } = tls;
        if let Some((key, cert)) = client {
            self.file(format!("{section}.tls.key"), key);
            self.file(format!("{section}.tls.cert"), cert);
        }
        if let Some(ca) = ca {
            self.file(format!("{section}.tls.ca"), ca);
        }
        if let Some(pem) = ca_pem {
            self.hide("VAULT_CACERT_BYTES", pem);
        }
        if let Some(name) = server_name {
            self.hide(format!("{section}.tls.server_name"), format!("{name:?}"));
        }
        let is_hidden = self.variables.set(&format!("{section}.endpoint"));
        for (number, proxy) in (1..).zip(proxies) {
            let endpoint =
                if is_hidden { format!("endpoint {number}") } else { shown(&proxy.origin) };
            self.secret(format!("{section}.proxy of {endpoint}"), &proxy.url);
        }
        self.show(format!("{section}.status.ping"), format_args!("{ping:?}"));
    }

    fn login(&mut self, section: &str, login: &Login) {
        match login {
            Login::AppRole { engine, namespace, id, secret } => {
                self.hide(format!("{section}.approle.engine"), engine);
                self.hide(format!("{section}.approle.namespace"), namespace);
                self.hide(format!("{section}.approle.id"), id);
                match secret {
                    AppRoleSecret::Literal(secret) => {
                        self.secret(format!("{section}.approle.secret"), secret);
                    }
                    AppRoleSecret::File(path) => {
                        self.path(format!("{section}.approle.secret_file"), path);
                    }
                }
            }
            Login::Kubernetes { engine, namespace, role, jwt } => {
                self.hide(format!("{section}.kubernetes.engine"), engine);
                self.hide(format!("{section}.kubernetes.namespace"), namespace);
                self.hide(format!("{section}.kubernetes.role"), role);
                match jwt {
                    Jwt::Literal(token) => self.secret(format!("{section}.kubernetes.jwt"), token),
                    // It may be a damaged token.
                    Jwt::File(path) => self.hide(format!("{section}.kubernetes.jwt"), &**path),
                }
            }
        }
    }
}
