use std::collections::HashMap;
use std::collections::hash_map::Entry;

use kes_api::Identity;

use super::exposure;
use crate::value::{AlreadyReported, Text, Value};

/// The prefix of an API key, which people write instead of its identity.
const API_KEY: &str = "kes:";

/// `admin`
pub(super) fn admin(
    value: &Value<'_>,
    roles: &mut Roles,
) -> Result<Option<Identity>, AlreadyReported> {
    let mut section = value.section("admin")?;
    let missing = "is required; write 'disabled' if nobody is to be admin";
    let identity = section.take("identity").required_or(missing);
    section.end();

    let text = identity?;
    let Ok(identity) = text.as_str().parse() else {
        // The values that the documentation uses. Anything else may be a mistyped hash.
        if !matches!(text.as_str(), "disabled" | "_") {
            text.warn(format!("{}; nobody is admin", not_an_identity(&text)));
        }
        return Ok(None);
    };
    roles.assign(identity, &text, "the admin".to_owned())?;
    exposure::warn_of_published(identity, &text);
    Ok(Some(identity))
}

/// The identities of a list, each with the same role.
pub(super) fn list(
    value: &Value<'_>,
    roles: &mut Roles,
    role: &str,
) -> Result<Vec<Identity>, AlreadyReported> {
    each(value, |identity, text| {
        roles.assign(identity, text, role.to_owned())?;
        exposure::warn_of_published(identity, text);
        Ok(())
    })
}

/// The identities of a list that `take` accepts. Items that are not identities match nobody and are
/// ignored.
pub(super) fn each(
    value: &Value<'_>,
    mut take: impl FnMut(Identity, &Text<'_>) -> Result<(), AlreadyReported>,
) -> Result<Vec<Identity>, AlreadyReported> {
    value.texts("<identity>", |text| {
        let Ok(identity) = text.as_str().parse() else {
            text.warn(format!("{}; ignored", not_an_identity(text)));
            return Ok(None);
        };
        take(identity, text).map(|()| Some(identity))
    })
}

/// What a text is that is not an identity. The text itself is not shown: it may be an API key.
fn not_an_identity(text: &Text<'_>) -> String {
    let written = text.as_str();
    if written.trim().is_empty() {
        return match text.variable() {
            Some(name) => format!("variable {name} is empty"),
            None => "empty".to_owned(),
        };
    }
    let is_identity = |text: &str| text.trim().parse::<Identity>().is_ok();
    let is_hex = |c: char| c.is_ascii_hexdigit();
    let is_file = [".crt", ".cert", ".pem", ".cer"].iter().any(|end| written.ends_with(end));
    if written.trim_start().starts_with(API_KEY) {
        "this is an API key; `kes identity of` prints its identity".to_owned()
    } else if is_file || written.contains("-----BEGIN") {
        "this is a certificate; `kes identity of` prints its identity".to_owned()
    } else if is_identity(written) {
        "not an identity: there are blanks around it".to_owned()
    } else if written.split([',', ' ']).filter(|part| !part.is_empty()).all(is_identity) {
        "several identities in one text; write each as an item of its own".to_owned()
    } else if written.split(':').all(|pair| pair.len() == 2 && pair.chars().all(is_hex)) {
        "this is a certificate's fingerprint; `kes identity of` prints its identity".to_owned()
    } else {
        "not an identity (64 hex digits expected)".to_owned()
    }
}

/// The roles of identities: each has one.
#[derive(Default)]
pub(super) struct Roles(HashMap<Identity, Role>);

struct Role {
    name: String,
    line: usize,
}

impl Roles {
    /// The identities that have a role, with the lines that give it.
    pub(super) fn lines(&self) -> impl Iterator<Item = (Identity, usize)> {
        self.0.iter().map(|(identity, role)| (*identity, role.line))
    }

    /// Records a role. An identity may get the same role again, but not another one.
    pub(super) fn assign(
        &mut self,
        identity: Identity,
        text: &Text<'_>,
        name: String,
    ) -> Result<(), AlreadyReported> {
        match self.0.entry(identity) {
            Entry::Vacant(slot) => {
                slot.insert(Role { name, line: text.value.line });
                Ok(())
            }
            Entry::Occupied(slot) if slot.get().name == name => Ok(()),
            Entry::Occupied(slot) => {
                let Role { name: first, line } = slot.get();
                let shown = text.shown();
                Err(text.mistake(format!(
                    "identity {shown} cannot be {name}: it is {first} already (line {line})"
                )))
            }
        }
    }
}
