//! The paths of keys and claims in Vault, percent-encoded, from `/v1/` on.

use kes_api::KeyName;
use percent_encoding::percent_decode_str;
use url::Url;

use crate::config::{KvVersion, Place, Vault};

/// The folder below the prefix that holds the claims of creators on KV v1. No key can have this
/// name, because of the dot.
pub(super) const CLAIMS: &str = ".kes-claims";

/// What an engine does with a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// KV version 1: one value a path.
    Plain,
    /// KV version 2: versions, metadata and compare-and-set.
    Versioned,
}

/// The paths of the KV engine.
pub(super) struct Paths {
    data: String,
    /// The same as `data` with `version: v1`.
    metadata: String,
    claims: String,
    mount: String,
    engine: String,
    /// Where the configuration names the engine.
    engine_place: Option<Place>,
    prefix: String,
}

impl Paths {
    pub(super) fn new(config: &Vault) -> Self {
        let (engine, prefix) = (config.engine.as_str(), config.prefix.as_str());
        let [data, metadata, claims] = match config.version {
            KvVersion::V1 => {
                let data = encode(&[engine, prefix]);
                [data.clone(), data, encode(&[engine, prefix, CLAIMS])]
            }
            KvVersion::V2 => [
                encode(&[engine, "data", prefix]),
                encode(&[engine, "metadata", prefix]),
                encode(&[engine, "data", prefix, CLAIMS]),
            ],
        };
        Self {
            data,
            metadata,
            claims,
            mount: encode(&["sys/internal/ui/mounts", engine]),
            engine: engine.to_owned(),
            engine_place: config.engine_place.clone(),
            prefix: prefix.to_owned(),
        }
    }

    /// The path of a key's value.
    pub(super) fn data(&self, name: &KeyName) -> String {
        format!("{}/{name}", self.data)
    }

    /// The path whose deletion deletes a key with all its versions.
    pub(super) fn whole(&self, name: &KeyName, form: Form) -> String {
        format!("{}/{name}", self.folder(form))
    }

    /// The folder whose listing has all keys.
    pub(super) fn folder(&self, form: Form) -> &str {
        match form {
            Form::Plain => &self.data,
            Form::Versioned => &self.metadata,
        }
    }

    /// Where keys are, as one path in the root namespace: a namespace may be a header or the first
    /// part of a path.
    pub(super) fn place(&self, namespace: &str) -> String {
        let data = self.data.strip_prefix("/v1").unwrap_or(&self.data);
        format!("{}{data}", encode(&[namespace]))
    }

    /// The path that tells the version of the engine.
    pub(super) fn mount(&self) -> String {
        self.mount.clone()
    }

    /// The folder of the claims to create a key; on engines of version 1 alone.
    pub(super) fn claims(&self, name: &KeyName) -> String {
        format!("{}/{name}", self.claims)
    }

    /// The folder of all claims, as a policy writes it.
    pub(super) fn all_claims(&self) -> String {
        let path = self.claims.strip_prefix("/v1/").unwrap_or(&self.claims);
        percent_decode_str(path).decode_utf8_lossy().into_owned()
    }

    /// The warning about `version: v2` and an engine of version 1. It advises no change of the file,
    /// because the server would no longer find the keys.
    pub(super) fn plain_below_data(&self) -> String {
        format!(
            "'{engine}' is an engine of KV version 1, and the configuration is for version 2: keys \
             stand below '{engine}/data/', where they are found and new ones are made; leave both \
             as they are",
            engine = self.engine
        )
    }

    /// What an operator is told of `version: v2` and an engine that is a path within one of
    /// version 2, which stands at `mount`; `None` if it is that engine itself.
    ///
    /// With `engine: kv/data` for an engine `kv`, keys are written and read below `kv/data/data/`,
    /// but deleted and listed where other secrets are: at `kv/data/metadata/`. Such keys keep their
    /// place under another engine and prefix.
    pub(super) fn within(&self, mount: &str) -> Option<String> {
        let (engine, prefix) = (joined(&[self.engine.as_str()]), self.prefix.as_str());
        let below = engine.strip_prefix(mount)?.strip_prefix('/')?;
        let (first, rest) = below.split_once('/').unwrap_or((below, ""));
        let write = |prefix: &str| match prefix {
            "" => format!("`engine: {mount}`"),
            prefix => format!("`engine: {mount}` and `prefix: {prefix}`"),
        };
        let advice = match first {
            "data" => format!(
                "write {}, where the keys made with this configuration stand; if there are none, \
                 write {}",
                write(&joined(&[rest, "data", prefix])),
                write(&joined(&[rest, prefix]))
            ),
            // Nothing that is sent there makes a key.
            "metadata" => format!("write {}", write(&joined(&[rest, prefix]))),
            _ => format!("write {}", write(&joined(&[below, prefix]))),
        };
        let place = self.engine_place.as_ref().map(|place| format!("{place}: "));
        Some(format!(
            "{}'{engine}' is a path within '{mount}', an engine of KV version 2, to whose path \
             `data/` and `metadata/` are added by themselves; {advice}",
            place.unwrap_or_default()
        ))
    }

    /// The error of `version: v1` and an engine of version 2, which is mounted at `mount`, as far as
    /// Vault says.
    pub(super) fn versioned_and_not_plain(&self, mount: Option<&str>) -> String {
        let below = mount
            .and_then(|mount| Some((mount, self.engine.strip_prefix(mount)?.strip_prefix('/')?)));
        let (engine, below) = below.unwrap_or((&self.engine, ""));
        // An operator who knows the paths of version 2 may have written one into `engine`.
        let write = match below.strip_prefix("data/").unwrap_or(below) {
            "" => "`version: v2`".to_owned(),
            "data" => format!("`engine: {engine}` and `version: v2`"),
            prefix => {
                format!("`engine: {engine}`, `version: v2` and a prefix that begins with {prefix}")
            }
        };
        format!(
            "'{engine}' is an engine of KV version 2, and the configuration is for version 1 (the \
             default): such an engine stores nothing that is sent as for version 1, so there is no \
             key that this configuration made; write {write}"
        )
    }
}

/// Parts of a path, each of which may hold `/`, without those that are empty.
fn joined(parts: &[&str]) -> String {
    let parts = parts.iter().flat_map(|part| part.split('/'));
    parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

/// The path of some parts, each of which may contain `/`. Empty parts are left out.
#[expect(clippy::expect_used, reason = "the URL is a constant, and has a path")]
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
