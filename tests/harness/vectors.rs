use std::path::Path;

use serde::Deserialize;

/// Standard base64 with padding.
pub(crate) const BASE64: base64_simd::Base64 = base64_simd::STANDARD;

/// Stored keys and ciphertexts that were made with the reference server.
#[derive(Deserialize)]
pub(crate) struct Vectors {
    pub(crate) stored_keys: Vec<StoredKey>,
    pub(crate) ciphertexts: Vec<Ciphertext>,
}

/// A value of a key store and what it means. Byte strings are base64.
#[derive(Clone, Deserialize)]
pub(crate) struct StoredKey {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) algorithm: String,
    pub(crate) key: String,
    pub(crate) hmac_key: Option<String>,
    pub(crate) created_at: String,
    pub(crate) created_by: String,
    pub(crate) hmac: Option<Tag>,
}

/// A message and its HMAC.
#[derive(Clone, Deserialize)]
pub(crate) struct Tag {
    pub(crate) message: String,
    pub(crate) tag: String,
}

/// A ciphertext of a stored key.
#[derive(Deserialize)]
pub(crate) struct Ciphertext {
    pub(crate) key: String,
    pub(crate) form: String,
    pub(crate) plaintext: String,
    pub(crate) context: String,
    pub(crate) ciphertext: String,
}

impl Vectors {
    /// All of them.
    pub(crate) fn read() -> Self {
        let text = include_str!("../../crypto/testdata/keys-and-ciphertexts.json");
        serde_json::from_str(text).unwrap()
    }

    /// A stored key by its name.
    pub(crate) fn key(&self, name: &str) -> &StoredKey {
        self.stored_keys.iter().find(|key| key.name == name).unwrap()
    }

    /// Puts every stored key where a server started in `folder` looks for keys.
    pub(crate) fn store(&self, folder: &Path) {
        for key in &self.stored_keys {
            key.store(folder, &key.name);
        }
    }
}

impl StoredKey {
    /// Puts the key under a name where a server started in `folder` looks for keys.
    pub(crate) fn store(&self, folder: &Path, name: &str) {
        let keys = folder.join("keys");
        std::fs::create_dir_all(&keys).unwrap();
        std::fs::write(keys.join(name), &self.value).unwrap();
    }
}
