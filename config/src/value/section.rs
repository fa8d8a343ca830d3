use std::collections::HashMap;

use super::{AlreadyReported, Value, join};
use crate::fields;

/// A map with known fields. The reader takes each by its name; [`Section::end`] warns of the rest.
#[must_use]
pub(crate) struct Section<'a> {
    value: Value<'a>,
    /// Its name in the table of fields, such as `policy.*`.
    name: &'static str,
    fields: HashMap<&'a str, Value<'a>>,
    taken: Vec<&'static str>,
}

impl<'a> Value<'a> {
    /// The value as a map; empty if there is none. `name` is its name in the table of fields, such
    /// as `policy.*`.
    pub(crate) fn section(&self, name: &'static str) -> Result<Section<'a>, AlreadyReported> {
        let expected = || match name {
            // Without the key stores that are not supported.
            "keystore" => "a map with fs or vault".to_owned(),
            _ => format!("a map with {}", enumerated(&fields::below(name))),
        };
        let fields = self.entries_or(&expected)?.into_iter().collect();
        Ok(Section { value: self.clone(), name, fields, taken: vec![] })
    }
}

impl<'a> Section<'a> {
    /// The section itself.
    pub(crate) const fn value(&self) -> &Value<'a> {
        &self.value
    }

    /// A field.
    pub(crate) fn take(&mut self, name: &'static str) -> Value<'a> {
        self.taken.push(name);
        let is_root = self.value.path.is_empty();
        self.fields.remove(name).unwrap_or_else(|| Value {
            context: self.value.context,
            line: if is_root { 0 } else { self.value.line },
            path: join(&self.value.path, name),
            node: None,
        })
    }

    /// Whether no known field is given but some of these.
    pub(crate) fn has_only(&self, names: &[&str]) -> bool {
        let known = fields::below(self.name);
        let mut given = self.fields.iter().filter(|(_, value)| value.is_given());
        given.all(|(name, _)| names.contains(name) || !known.contains(name))
    }

    /// Warns of the fields that are not known, where not all that are were taken.
    pub(crate) fn end_early(mut self) {
        let known = fields::below(self.name);
        self.fields.retain(|name, _| !known.contains(name));
        for (name, value) in self.fields {
            value.warn(fields::unknown(self.name, name));
        }
    }

    /// Warns of the fields that nobody took.
    pub(crate) fn end(self) {
        debug_assert!(
            fields::below(self.name).iter().all(|name| self.taken.contains(name))
                && self.taken.iter().all(|name| fields::below(self.name).contains(name)),
            "the table of fields and the reader of '{}' differ",
            self.name
        );
        for (name, value) in self.fields {
            value.warn(fields::unknown(self.name, name));
        }
    }
}

/// `a, b and c`
fn enumerated(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [name] => (*name).to_owned(),
        [names @ .., last] => format!("{} and {last}", names.join(", ")),
    }
}
