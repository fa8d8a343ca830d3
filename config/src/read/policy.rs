use kes_api::{Identity, PolicyName};
use kes_policy::{Place, Policy};

use super::Roles;
use crate::value::{Noted, Text, Value};

/// The policies of the file, in its order, each with its identities.
pub(super) fn read(
    value: &Value<'_>,
    roles: &mut Roles,
) -> Result<Vec<(Policy, Vec<Identity>)>, Noted> {
    let mut policies = Vec::new();
    let mut result = Ok(());
    for (name, value) in value.entries()? {
        crate::give_way();
        match policy(name, &value, roles) {
            Ok(policy) => policies.push(policy),
            Err(noted) => result = Err(noted),
        }
    }
    result.map(|()| policies)
}

fn policy(
    name: &str,
    value: &Value<'_>,
    roles: &mut Roles,
) -> Result<(Policy, Vec<Identity>), Noted> {
    let mut section = value.section()?;
    let allow = patterns(&section.take("allow"));
    let deny = patterns(&section.take("deny"));
    let role = format!("in policy '{}'", name.escape_debug());
    let identities = super::identities(&section.take("identities"), roles, &role);
    section.retired("paths", "patterns stand in allow and deny");
    section.end();

    let (allow, deny, identities) = (allow?, deny?, identities?);
    let policy =
        Policy::new(name, allow.iter().map(Pattern::as_str), deny.iter().map(Pattern::as_str));
    if PolicyName::parse(name).is_err() {
        value.warn("no name that the API takes: the policy works, but cannot be asked for");
    }
    warn(value, &policy, &allow, &deny);
    Ok((policy, identities))
}

/// A pattern of the file, and where it stands.
struct Pattern<'a> {
    value: Value<'a>,
    /// `None` for an empty item.
    text: Option<Text<'a>>,
}

impl Pattern<'_> {
    fn as_str(&self) -> &str {
        self.text.as_ref().map_or("", Text::as_str)
    }
}

fn patterns<'a>(value: &Value<'a>) -> Result<Vec<Pattern<'a>>, Noted> {
    let items = value.list()?.into_iter().map(|value| {
        let text = value.text()?;
        Ok(Pattern { value, text })
    });
    // Collected first: each item may have a mistake of its own.
    let patterns: Vec<_> = items.collect();
    patterns.into_iter().collect()
}

fn warn(value: &Value<'_>, policy: &Policy, allow: &[Pattern<'_>], deny: &[Pattern<'_>]) {
    for mut lint in kes_policy::lint(policy) {
        let pattern = match lint.place {
            Place::Policy => None,
            Place::Allow(position) => allow.get(position),
            Place::Deny(position) => deny.get(position),
        };
        if let Some(variable) = pattern.and_then(|pattern| pattern.text.as_ref()?.variable()) {
            lint.pattern = format!("${{{variable}}}");
        }
        pattern.map_or(value, |pattern| &pattern.value).warn(lint.to_string());
    }
}
