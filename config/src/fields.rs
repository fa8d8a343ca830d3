//! The names of all fields, and what the author of an unknown one probably meant.

/// Of the server.
mod server;

/// Of key stores.
mod keystore;

/// What the reference says of a field.
#[cfg(test)]
pub(crate) mod facts;

/// Some fields, which `docs/config.md` shows in one table.
pub(crate) struct Section {
    /// `*` stands for a name that the operator chooses, or for an item of a list.
    names: &'static [&'static str],
    /// The heading of the table.
    #[cfg(test)]
    pub(crate) title: &'static str,
    /// The rest of the table, in the order of the names. The program has none of it.
    #[cfg(test)]
    facts: &'static [facts::Facts],
}

/// The heading, and each field: its name and meaning, and what it is if it is left out, its form,
/// the version that has it first, and what a change needs, as `facts` has them.
macro_rules! section {
    ($title:literal: $(
        $name:literal: $meaning:literal;
        $unset:ident$(($unset_value:expr))?,
        $form:ident$(($form_value:expr))?,
        $since:literal,
        $change:ident;
    )+) => {
        $crate::fields::Section {
            names: &[$($name),+],
            #[cfg(test)]
            title: $title,
            #[cfg(test)]
            facts: &[$($crate::fields::facts::Facts {
                meaning: $meaning,
                unset: $crate::fields::facts::Unset::$unset$(($unset_value))?,
                form: $crate::fields::facts::Form::$form$(($form_value))?,
                since: $since,
                change: $crate::fields::facts::Change::$change,
            }),+],
        }
    };
}
use section;

/// Every field that a file may have, in the order in which messages list them. A test fails if a
/// section reads other fields, see [`below`].
static SECTIONS: [Section; 13] = [
    server::SERVER,
    server::TLS,
    server::POLICIES,
    server::LIMITS,
    server::CACHE,
    server::APIS,
    server::LOGS,
    server::TRACES,
    server::KEYS,
    keystore::FOLDER,
    keystore::VAULT,
    keystore::TWO,
    keystore::REFUSED,
];

/// Fields of older versions, and fields that people expect: section, name, and the warning.
const RETIRED: &[(&str, &str, &str)] = &[
    ("", "root", "retired field, ignored; use 'admin.identity' instead"),
    ("", "enclave", "retired field, ignored; there are no longer any enclaves"),
    ("policy.*", "paths", "retired field, ignored; use 'allow' instead"),
    ("cache.expiry", "all", "retired field, ignored; use 'any' instead"),
    ("log", "trace", "retired field, ignored; 'log.audit: debug' logs every request"),
    ("keystore.fs", "dir", "retired field, ignored; use 'path' instead"),
    (
        "keystore.vault",
        "token",
        "tokens are not supported, ignored; use 'approle' or 'kubernetes' to log in",
    ),
    ("keystore.vault", "address", "retired field, ignored; use 'endpoint' instead"),
    ("keystore.vault.approle", "retry", RETRY),
    ("keystore.vault.kubernetes", "retry", RETRY),
];

const RETRY: &str = "not needed, ignored; a failed login is repeated by itself";

/// Words that people write for a field and that [`is_near`] does not find: section, word without
/// `-` and `_`, field. None of these suggestions makes a server look for keys at another place.
const SYNONYMS: &[(&str, &str, &str)] = &[
    ("", "listen", "address"),
    ("", "policies", "policy"),
    ("", "logging", "log"),
    ("", "tracing", "traces"),
    ("", "otlp", "traces"),
    ("", "opentelemetry", "traces"),
    ("admin", "identities", "identity"),
    ("tls", "certificate", "cert"),
    ("tls", "crt", "cert"),
    ("tls", "privatekey", "key"),
    ("tls", "cafile", "ca"),
    ("tls", "capath", "ca"),
    ("tls", "cacert", "ca"),
    ("tls.proxy", "identity", "identities"),
    ("policy.*", "identity", "identities"),
    ("log", "level", "error"),
    ("traces", "url", "endpoint"),
    ("traces", "address", "endpoint"),
    ("traces", "sampling", "sample"),
    ("traces", "ratio", "sample"),
    ("traces", "cafile", "ca"),
    ("migration", "target", "to"),
    ("migration", "keystore", "to"),
    ("migration", "reads", "read"),
    ("migration", "writes", "write"),
    ("keystore", "filesystem", "fs"),
    ("keystore", "hashicorp", "vault"),
    ("keystore", "openbao", "vault"),
    ("keystore.fs", "directory", "path"),
    ("keystore.fs", "folder", "path"),
    ("keystore.vault", "addr", "endpoint"),
    ("keystore.vault", "url", "endpoint"),
    ("keystore.vault.approle", "roleid", "id"),
    ("keystore.vault.approle", "secretid", "secret"),
    ("keystore.vault.kubernetes", "token", "jwt"),
    ("keystore.vault.kubernetes", "tokenfile", "jwt"),
    ("keystore.vault.kubernetes", "jwtfile", "jwt"),
    ("keystore.vault.tls", "certificate", "cert"),
    ("keystore.vault.tls", "crt", "cert"),
    ("keystore.vault.tls", "privatekey", "key"),
    ("keystore.vault.tls", "cafile", "ca"),
    ("keystore.vault.tls", "capath", "ca"),
    ("keystore.vault.tls", "cacert", "ca"),
];

/// All fields.
fn names() -> impl Iterator<Item = &'static str> {
    SECTIONS.iter().flat_map(|section| section.names.iter().copied())
}

/// Every field.
#[cfg(test)]
pub(crate) fn all() -> Vec<&'static str> {
    names().collect()
}

/// All tables of the reference.
#[cfg(test)]
pub(crate) const fn sections() -> &'static [Section] {
    &SECTIONS
}

#[cfg(test)]
impl Section {
    /// The fields with what is said of them.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&'static str, &'static facts::Facts)> {
        self.names.iter().copied().zip(self.facts)
    }
}

/// The names of the fields of a section, such as `tls.proxy`; `""` is the whole file.
pub(crate) fn below(section: &str) -> Vec<&'static str> {
    let mut found = Vec::new();
    for field in names() {
        let rest = if section.is_empty() {
            Some(field)
        } else {
            field.strip_prefix(section).and_then(|rest| rest.strip_prefix('.'))
        };
        let name = rest.and_then(|rest| rest.split('.').next());
        if let Some(name) = name
            && !found.contains(&name)
        {
            found.push(name);
        }
    }
    found
}

/// The warning for a field that a section does not have.
pub(crate) fn unknown(section: &str, name: &str) -> String {
    if let Some((.., told)) = RETIRED.iter().find(|row| (row.0, row.1) == (section, name)) {
        return (*told).to_owned();
    }
    if name.contains("${") {
        return "unknown field, ignored; variables are replaced in values, not in names of fields"
            .to_owned();
    }
    // By convention such a field holds what the rest of the file refers to by aliases.
    if name.starts_with("x-") {
        return "unknown field, ignored".to_owned();
    }
    let written = plain(name);
    let synonym = SYNONYMS.iter().find(|row| (row.0, row.1) == (section, &*written));
    let near = synonym.map(|row| row.2).or_else(|| nearest(&written, &below(section)));
    let places = elsewhere(section, &written);
    // At the top level `key` more likely means `tls.key` than `keys`.
    let is_misplaced = section.is_empty() && !places.is_empty();
    if let Some(near) = near
        && !is_misplaced
    {
        return format!("unknown field, ignored; is '{near}' meant?");
    }
    match places.as_slice() {
        [] if section == "keystore" => {
            format!("ignored; key store '{name}' is not supported; supported are fs and vault")
        }
        [] => "unknown field, ignored".to_owned(),
        [place] if !place.contains('.') => {
            format!("unknown field here, ignored; '{place}' belongs at the top level of the file")
        }
        places => {
            let places: Vec<_> =
                places.iter().map(|place| format!("'{}'", place.replace('*', "<name>"))).collect();
            format!("unknown field here, ignored; it belongs at {}", places.join(" or "))
        }
    }
}

/// A name as it is compared: `secretFile` and `secret-file` are `secret_file`.
fn plain(name: &str) -> String {
    let letters = name.chars().filter(|c| !matches!(c, '-' | '_'));
    letters.flat_map(char::to_lowercase).collect()
}

fn nearest(written: &str, names: &[&'static str]) -> Option<&'static str> {
    let distance = |name: &&'static str| (strsim::osa_distance(written, &plain(name)), *name);
    let (distance, name) = names.iter().map(distance).min_by_key(|(distance, _)| *distance)?;
    is_near(distance, name).then_some(name)
}

/// Two slips, but no other word: `kye` is `key`, `mode` is nothing.
const fn is_near(distance: usize, name: &str) -> bool {
    distance == 0 || distance <= 2 && distance * 2 < name.len()
}

/// Where else a field of that very name stands: the nearest such places.
fn elsewhere(section: &str, written: &str) -> Vec<String> {
    let mut places: Vec<String> = Vec::new();
    // Who writes `endpoint` or `ca` at a wrong place means those of the key store.
    let is_meant = |field: &&str| {
        !["keys.", "traces.", "cache.snapshot."].iter().any(|other| field.starts_with(other))
    };
    for field in names().filter(is_meant) {
        let parts: Vec<_> = field.split('.').collect();
        for end in 1..=parts.len() {
            let Some((last, above)) = parts.get(..end).and_then(<[_]>::split_last) else { break };
            let above = above.join(".");
            let place =
                if above.is_empty() { (*last).to_owned() } else { format!("{above}.{last}") };
            let is_there = plain(last) == written && above != section;
            if is_there && !places.contains(&place) {
                places.push(place);
            }
        }
    }
    // A field further down in the same section means that a level of nesting was left out.
    let within = |place: &String| !section.is_empty() && place.starts_with(&format!("{section}."));
    if places.iter().any(within) {
        places.retain(within);
    }
    let depth = |place: &String| place.matches('.').count();
    let least = places.iter().map(depth).min();
    places.retain(|place| Some(depth(place)) == least);
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_unknown_field_may_mean() {
        for (section, name, meant) in [
            ("", "tsl", "is 'tls' meant?"),
            ("", "Keystore", "is 'keystore' meant?"),
            ("", "key_store", "is 'keystore' meant?"),
            ("", "policies", "is 'policy' meant?"),
            ("", "root", "use 'admin.identity' instead"),
            ("", "identity", "it belongs at 'admin.identity'"),
            ("", "fs", "it belongs at 'keystore.fs'"),
            ("", "vault", "it belongs at 'keystore.vault'"),
            ("", "cert", "it belongs at 'tls.cert'"),
            ("", "key", "it belongs at 'tls.key'"),
            ("", "allow", "it belongs at 'policy.<name>.allow'"),
            ("", "identities", "'tls.proxy.identities' or 'policy.<name>.identities'"),
            ("tls", "policy", "'policy' belongs at the top level of the file"),
            ("tls", "identities", "it belongs at 'tls.proxy.identities'"),
            ("cache", "any", "it belongs at 'cache.expiry.any'"),
            ("keystore", "secretsmanager", "it belongs at 'keystore.aws.secretsmanager'"),
            ("keystore", "endpoint", "it belongs at 'keystore.vault.endpoint'"),
            ("keystore", "approle", "it belongs at 'keystore.vault.approle'"),
            ("keystore", "path", "it belongs at 'keystore.fs.path'"),
            ("keystore.fs", "pathh", "is 'path' meant?"),
            ("keystore.vault", "aprole", "is 'approle' meant?"),
            ("keystore.vault", "address", "use 'endpoint' instead"),
            ("keystore.vault", "id", "it belongs at 'keystore.vault.approle.id'"),
            ("keystore.vault.approle", "secrt", "is 'secret' meant?"),
            ("keystore.vault.approle", "secretFile", "is 'secret_file' meant?"),
            ("keystore.vault.approle", "role_id", "is 'id' meant?"),
            ("policy.*", "paths", "use 'allow' instead"),
            ("policy.*", "identity", "is 'identities' meant?"),
            ("policy.*", "${X}", "variables are replaced in values, not in names of fields"),
            ("keystore", "etcd", "key store 'etcd' is not supported; supported are fs and vault"),
            ("keystore.vault", "token", "use 'approle' or 'kubernetes' to log in"),
            ("log", "trace", "'log.audit: debug' logs every request"),
        ] {
            let text = unknown(section, name);
            assert!(
                text.contains("ignored; ") && text.ends_with(meant),
                "{section} {name}: {text}"
            );
        }
        // A `name` was the prefix in very old versions: a hint could hide the keys of a server
        // that did not use it.
        for (section, name) in
            [("keystore.vault", "name"), ("", "x"), ("", "x-limits"), ("keystore.fs", "mode")]
        {
            assert_eq!(unknown(section, name), "unknown field, ignored", "{section} {name}");
        }
    }

    #[test]
    fn hints_name_fields_that_are_there() {
        for (section, word, field) in SYNONYMS {
            assert!(below(section).contains(field), "{section} {field}");
            assert_eq!(*word, plain(word));
        }
        for (section, name, _) in RETIRED {
            assert!(!below(section).is_empty() && !below(section).contains(name), "{section}");
        }
        assert_eq!(below("tls.proxy"), ["identities", "header"]);
        assert_eq!(below("policy.*"), ["allow", "deny", "identities", "limits"]);
    }
}
