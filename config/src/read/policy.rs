use kes_api::{Identity, PolicyName};
use kes_policy::{Place, Policy};

use super::identity::{self, Roles};
use crate::fields;
use crate::value::{AlreadyReported, Text, Value};

/// The policies in the order of the file, each with its identities.
pub(super) fn read(
    value: &Value<'_>,
    roles: &mut Roles,
) -> Result<Vec<(Policy, Vec<Identity>)>, AlreadyReported> {
    let mut policies = Vec::new();
    let mut result = Ok(());
    for (name, value) in value.entries("a map with the policies by name")? {
        value.pause(); // a policy of many patterns is a step of its own
        if fields::below("policy.*").contains(&name) && value.is_given() && !value.is_map() {
            let text =
                "is a field of a policy, not the name of one: indent it below the policy's name";
            result = Err(value.mistake(format!("'{name}' {text}")));
            continue;
        }
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
) -> Result<(Policy, Vec<Identity>), AlreadyReported> {
    let mut section = value.section("policy.*")?;
    let allow = patterns(&section.take("allow"));
    let deny = patterns(&section.take("deny"));
    let role = format!("in policy '{}'", name.escape_debug());
    let identities = identity::list(&section.take("identities"), roles, &role);
    section.end();

    let (allow, deny, identities) = (allow?, deny?, identities?);
    let policy =
        Policy::new(name, allow.iter().map(Pattern::as_str), deny.iter().map(Pattern::as_str));
    if PolicyName::parse(name).is_err() {
        value.warn(if name.contains("${") {
            "variables are replaced in values, not in the names of policies"
        } else {
            "the API does not accept this name: the policy works, but the API cannot show it"
        });
    }
    if allow.is_empty() && !identities.is_empty() {
        value.warn("allows nothing: it has identities and no allow pattern");
    }
    warn(value, &policy, &allow, &deny);
    Ok((policy, identities))
}

/// A pattern of the file, with its place.
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

fn patterns<'a>(value: &Value<'a>) -> Result<Vec<Pattern<'a>>, AlreadyReported> {
    let items = value.list("/v1/key/create/*")?.into_iter().map(|value| {
        let text = value.text()?;
        Ok(Pattern { value, text })
    });
    // Collected first, so that the mistakes of all items are recorded.
    let patterns: Vec<_> = items.collect();
    patterns.into_iter().collect()
}

fn warn(value: &Value<'_>, policy: &Policy, allow: &[Pattern<'_>], deny: &[Pattern<'_>]) {
    for lint in kes_policy::lint(policy) {
        let pattern = match lint.place {
            Place::Policy => None,
            Place::Allow(position) => allow.get(position),
            Place::Deny(position) => deny.get(position),
        };
        let variable = pattern.and_then(|pattern| pattern.text.as_ref()?.variable());
        let lint = match variable {
            Some(variable) => lint.showing(format!("${{{variable}}}")),
            None => lint,
        };
        pattern.map_or(value, |pattern| &pattern.value).warn(lint.to_string());
    }
}
