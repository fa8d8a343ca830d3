use std::collections::{BTreeSet, HashMap};

use crate::digest::Digest;

/// Fields that hold identities. They are hashes of public keys, which every log shows, whether a
/// file has them from variables or not.
const IDENTITIES: [&str; 2] = ["admin.identity", "tls.proxy.identities"];

/// What of a file came from environment variables, so that no message shows it. It does not hold
/// the values.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    /// The fields outside of policies, also those of which only an item came from a variable.
    fields: BTreeSet<String>,
    /// The names of the variables that are used in policies, by their values.
    names: HashMap<Digest, String>,
}

impl Variables {
    /// Notes that a field has the value of a variable.
    pub(crate) fn note(&mut self, path: &str, name: &str, value: &str) {
        if path.starts_with("policy.") {
            self.names.insert(Digest::of(value), name.to_owned());
            return;
        }
        let field = whole(path);
        if !IDENTITIES.contains(&&*field) {
            self.fields.insert(field);
        }
    }

    /// Whether a field, or an item of it, has the value of a variable. False in policies, and for
    /// identities.
    pub fn set(&self, field: &str) -> bool {
        self.fields.contains(&whole(field))
    }

    /// The name of the variable in some policy that has this value.
    pub fn name_of(&self, value: &str) -> Option<&str> {
        self.names.get(&Digest::of(value)).map(String::as_str)
    }
}

/// The field that an item or its part belongs to. An API is named with and without its last slash.
fn whole(path: &str) -> String {
    let field = path.split('[').next().unwrap_or_default();
    field.replace("/.", ".")
}
