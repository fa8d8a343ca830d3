//! Where things stand in Vault, as percent-encoded paths from `/v1/` on.

use kes_api::KeyName;
use url::Url;

use crate::config::{KvVersion, Vault};

/// The folder below the prefix that holds the claims of creators on KV v1. No key can have this
/// name, because of the dot.
pub(super) const CLAIMS: &str = ".kes-claims";

/// The paths of the KV engine.
pub(super) struct Paths {
    data: String,
    metadata: String,
    claims: String,
    mount: String,
}

impl Paths {
    pub(super) fn new(config: &Vault) -> Self {
        let (engine, prefix) = (config.engine.as_str(), config.prefix.as_str());
        let mount = encode(&["sys/internal/ui/mounts", engine]);
        match config.version {
            KvVersion::V1 => {
                let data = encode(&[engine, prefix]);
                Self {
                    metadata: data.clone(),
                    claims: encode(&[engine, prefix, CLAIMS]),
                    mount,
                    data,
                }
            }
            KvVersion::V2 => Self {
                data: encode(&[engine, "data", prefix]),
                metadata: encode(&[engine, "metadata", prefix]),
                claims: String::new(),
                mount,
            },
        }
    }

    /// What holds a key's value.
    pub(super) fn data(&self, name: &KeyName) -> String {
        format!("{}/{name}", self.data)
    }

    /// What says that a key stands, in whatever version; to delete it is to delete all of them.
    pub(super) fn metadata(&self, name: &KeyName) -> String {
        format!("{}/{name}", self.metadata)
    }

    /// What lists all keys.
    pub(super) fn all(&self) -> &str {
        &self.metadata
    }

    /// What says of which version the engine is.
    pub(super) fn mount(&self) -> String {
        self.mount.clone()
    }

    /// What lists the claims to create a key. KV v1 alone.
    pub(super) fn claims(&self, name: &KeyName) -> String {
        format!("{}/{name}", self.claims)
    }
}

/// A path of parts, each of which may hold `/`. Empty parts fall away.
pub(super) fn encode(parts: &[&str]) -> String {
    let mut url = Url::parse("http://vault/v1").expect("a constant URL is valid");
    {
        let mut segments = url.path_segments_mut().expect("an HTTP URL has a path");
        let parts = parts.iter().flat_map(|part| part.split('/'));
        segments.extend(parts.filter(|part| !part.is_empty()));
    }
    url.path().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_may_hold_slashes_and_anything_else() {
        assert_eq!(encode(&["kv", ""]), "/v1/kv");
        assert_eq!(encode(&["/a/b/", "data", "c/d"]), "/v1/a/b/data/c/d");
        assert_eq!(encode(&["k v", "a?b#c%"]), "/v1/k%20v/a%3Fb%23c%25");
    }
}
