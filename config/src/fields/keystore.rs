#[cfg(test)]
use kes_keystore::config::{FolderId, KvVersion};
#[cfg(test)]
use kes_keystore::{Side, Writes};

#[cfg(test)]
use super::facts::words;
use super::{Section, section};

/// `keystore.fs`
pub(super) const FOLDER: Section = section! {
    "Folder":
    "keystore.fs.path": "folder of the keys";
        Required, Path, "0.1.0", Reload;
    "keystore.fs.id": "ID that the folder must have, from its file `.kes-folder`";
        Nothing, Digits(FolderId::DIGITS), "0.1.0", Reload;
};

/// `keystore.vault`
pub(super) const VAULT: Section = section! {
    "Vault and OpenBao":
    "keystore.vault.endpoint": "where Vault is; all nodes of a cluster with commas";
        Required, Endpoints, "0.1.0", Reload;
    "keystore.vault.engine": "path of the KV engine";
        Value("kv"), VaultPath, "0.1.0", Reload;
    "keystore.vault.version": "version of the KV engine";
        Shown, Words(|| words(KvVersion::ALL, KvVersion::word)), "0.1.0", Reload;
    "keystore.vault.namespace": "namespace of the engine, of transit and of the login";
        Nothing, Text, "0.1.0", Reload;
    "keystore.vault.prefix": "folder in the engine";
        Nothing, VaultPath, "0.1.0", Reload;
    "keystore.vault.transit.engine": "path of the transit engine that encrypts stored keys";
        Value("transit"), VaultPath, "0.1.0", Reload;
    "keystore.vault.transit.key": "its key";
        Required, VaultPath, "0.1.0", Reload;
    "keystore.vault.approle.engine": "path of the AppRole login";
        Value("approle"), VaultPath, "0.1.0", Reload;
    "keystore.vault.approle.namespace": "namespace of the login alone; `/` is the root";
        Words("that of the key store"), Text, "0.1.0", Reload;
    "keystore.vault.approle.id": "role ID";
        Required, Text, "0.1.0", Reload;
    "keystore.vault.approle.secret": "secret ID";
        RequiredOr("secret_file"), Text, "0.1.0", Reload;
    "keystore.vault.approle.secret_file": "file with the secret ID, read at each login";
        Nothing, Path, "0.1.0", Reload;
    "keystore.vault.kubernetes.engine": "path of the Kubernetes login";
        Value("kubernetes"), VaultPath, "0.1.0", Reload;
    "keystore.vault.kubernetes.namespace": "namespace of the login alone; `/` is the root";
        Words("that of the key store"), Text, "0.1.0", Reload;
    "keystore.vault.kubernetes.role": "role of the service account";
        Required, Text, "0.1.0", Reload;
    "keystore.vault.kubernetes.jwt":
        "file with the token, read at each login; without a `/` the token itself";
        Required, PathOrToken, "0.1.0", Reload;
    "keystore.vault.tls.key": "private key of a client certificate";
        Nothing, Path, "0.1.0", Reload;
    "keystore.vault.tls.cert": "client certificate";
        Nothing, Path, "0.1.0", Reload;
    "keystore.vault.tls.ca": "CAs of Vault's certificate, in place of the system's";
        Words("those of the system"), Path, "0.1.0", Reload;
    "keystore.vault.tls.server_name": "name that Vault's certificate must have";
        Words("that of the endpoint"), ServerName, "0.1.0", Reload;
    "keystore.vault.proxy": "proxy for all endpoints; `none` ignores that of the environment";
        Words("that of the environment"), ProxyUrl, "0.1.0", Reload;
    "keystore.vault.status.ping":
        "time between checks of Vault's health, if it is shorter than 0.75 s";
        Shown, Duration, "0.1.0", Reload;
};

/// `migration`
pub(super) const TWO: Section = section! {
    "Two key stores":
    "migration.to": "the new key store: the fields are those of `keystore`";
        Required, KeyStore, "0.1.0", Reload;
    "migration.read":
        "which is asked first for a key; the other one is asked where that has none or does not \
         answer";
        Shown, Words(|| words(Side::ALL, Side::word)), "0.1.0", Reload;
    "migration.write": "where new keys are stored; a key is always deleted from both";
        Shown, Words(|| words(Writes::ALL, Writes::word)), "0.1.0", Reload;
    "migration.compare":
        "whether both are asked for every key, and a key with different values is not used";
        Shown, Switch, "0.1.0", Reload;
};

/// Key stores of the reference server that this server does not have.
pub(super) const REFUSED: Section = section! {
    "Refused key stores":
    "keystore.fortanix.sdkms": "Fortanix SDKMS";
        Nothing, Refused, "0.1.0", Refused;
    "keystore.gemalto.keysecure": "Thales CipherTrust, formerly Gemalto KeySecure";
        Nothing, Refused, "0.1.0", Refused;
    "keystore.gcp.secretmanager": "Google Secret Manager";
        Nothing, Refused, "0.1.0", Refused;
    "keystore.aws.secretsmanager": "AWS Secrets Manager";
        Nothing, Refused, "0.1.0", Refused;
    "keystore.azure.keyvault": "Azure Key Vault";
        Nothing, Refused, "0.1.0", Refused;
    "keystore.entrust.keycontrol": "Entrust KeyControl";
        Nothing, Refused, "0.1.0", Refused;
};
