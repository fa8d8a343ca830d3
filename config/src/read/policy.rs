use kes_api::{Identity, PolicyName};
use kes_policy::{Place, Policy};

use super::identity::{self, Roles};
use super::limits::{self, OfIdentities};
use crate::value::{AlreadyReported, Text, Value};
use crate::{PatternPlace, PolicyPlace, PolicyPlaces, fields};

/// The section `policy`.
#[derive(Default)]
pub(super) struct Section {
    /// The policies in the order of the file, each with its identities.
    pub(super) policies: Vec<(Policy, Vec<Identity>)>,
    /// The limits of those identities that have their own.
    pub(super) own_limits: OfIdentities,
}

/// Reads the section. Where each policy stands is noted in `places`, if somebody asks for it.
pub(super) fn read(
    value: &Value<'_>,
    roles: &mut Roles,
    mut places: Option<&mut PolicyPlaces>,
) -> Result<Section, AlreadyReported> {
    let mut all = Section::default();
    let mut result = Ok(());
    for (name, value) in value.entries("a map with the policies by name")? {
        value.pause(); // a policy of many patterns is a step of its own
        if fields::below("policy.*").contains(&name) && value.is_given() && !value.is_map() {
            let text =
                "is a field of a policy, not the name of one: indent it below the policy's name";
            result = Err(value.mistake(format!("'{name}' {text}")));
            continue;
        }
        if let Err(noted) = policy(name, &value, roles, &mut all, places.as_deref_mut()) {
            result = Err(noted);
        }
    }
    result.map(|()| all)
}

fn policy(
    name: &str,
    value: &Value<'_>,
    roles: &mut Roles,
    all: &mut Section,
    places: Option<&mut PolicyPlaces>,
) -> Result<(), AlreadyReported> {
    let mut section = value.section("policy.*")?;
    let allow = patterns(&section.take("allow"));
    let deny = patterns(&section.take("deny"));
    let role = format!("in policy '{}'", name.escape_debug());
    let identities = identity::list(&section.take("identities"), roles, &role);
    let limits = section.take("limits");
    // Without the identities nothing can be said of those that have limits of their own.
    let limits = match &identities {
        Ok(identities) => limits::of_policy(&limits, identities),
        Err(noted) => Err(*noted),
    };
    section.end();

    let (allow, deny, identities) = (allow?, deny?, identities?);
    let (limits, own_limits) = limits?;
    let policy =
        Policy::new(name, allow.iter().map(Pattern::as_str), deny.iter().map(Pattern::as_str))
            .limiting(limits);
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
    if let Some(places) = places {
        let of = |patterns: &[Pattern<'_>]| patterns.iter().map(Pattern::place).collect();
        places.add(name, PolicyPlace { line: value.line, allow: of(&allow), deny: of(&deny) });
    }
    all.policies.push((policy, identities));
    all.own_limits.extend(own_limits);
    Ok(())
}

/// A pattern of the file, with its place.
struct Pattern<'a> {
    value: Value<'a>,
    /// `None` for an empty item.
    text: Option<Text<'a>>,
}

impl Pattern<'_> {
    fn place(&self) -> PatternPlace {
        let variable = self.text.as_ref().and_then(Text::variable).map(str::to_owned);
        PatternPlace { line: self.value.line, variable }
    }

    fn as_str(&self) -> &str {
        self.text.as_ref().map_or("", Text::as_str)
    }
}

fn patterns<'a>(value: &Value<'a>) -> Result<Vec<Pattern<'a>>, AlreadyReported> {
    value.items("/v1/key/create/*", |value| {
        let text = value.text()?;
        Ok(Pattern { value, text })
    })
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
