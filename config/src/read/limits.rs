use std::collections::HashMap;
use std::num::NonZeroU32;

use kes_api::Identity;
use kes_policy::{Limit, LimitSettings};

use super::identity;
use crate::bounds::LIMIT;
use crate::value::{AlreadyReported, Section, Value};

/// Some identities of a policy, each with limits of its own.
pub(super) type OfIdentities = Vec<(Identity, LimitSettings)>;

/// `limits`, for the identities of all policies.
pub(super) fn general(value: &Value<'_>) -> Result<LimitSettings, AlreadyReported> {
    let mut section = value.section("limits")?;
    let settings = settings(&mut section);
    section.end();
    settings
}

/// `limits` of a policy with these identities.
pub(super) fn of_policy(
    value: &Value<'_>,
    identities: &[Identity],
) -> Result<(LimitSettings, OfIdentities), AlreadyReported> {
    let mut section = value.section("policy.*.limits")?;
    let settings = settings(&mut section);
    let own = overrides(&section.take("overrides"), identities);
    section.end();
    Ok((settings?, own?))
}

fn overrides(value: &Value<'_>, identities: &[Identity]) -> Result<OfIdentities, AlreadyReported> {
    let mut lines = HashMap::new();
    let read = |item: Value<'_>| single_override(&item, identities, &mut lines);
    Ok(value.items("identities: …", read)?.into_iter().flatten().collect())
}

fn single_override(
    value: &Value<'_>,
    of_policy: &[Identity],
    lines: &mut HashMap<Identity, usize>,
) -> Result<OfIdentities, AlreadyReported> {
    let mut section = value.section("policy.*.limits.overrides.*")?;
    let settings = settings(&mut section);
    let list = section.take("identities");
    let identities = identity::each(&list, |identity, text| {
        if !of_policy.contains(&identity) {
            let shown = text.shown();
            return Err(text.mistake(format!(
                "identity {shown} is not in this policy; its limits belong to the policy that has it"
            )));
        }
        match lines.insert(identity, text.value.line) {
            None => Ok(()),
            Some(line) => {
                let shown = text.shown();
                Err(text.mistake(format!("identity {shown} has limits already (line {line})")))
            }
        }
    });
    section.end();
    let (settings, identities) = (settings?, identities?);
    if identities.is_empty() {
        value.warn("has no identities, ignored");
    }
    Ok(identities.into_iter().map(|identity| (identity, settings)).collect())
}

fn settings(section: &mut Section<'_>) -> Result<LimitSettings, AlreadyReported> {
    let requests_per_second = limit(&section.take("requests_per_second"));
    let requests_at_once = limit(&section.take("requests_at_once"));
    let store_calls_per_second = limit(&section.take("store_calls_per_second"));
    Ok(LimitSettings {
        requests_per_second: requests_per_second?,
        requests_at_once: requests_at_once?,
        store_calls_per_second: store_calls_per_second?,
    })
}

/// `None` if nothing is written.
fn limit(value: &Value<'_>) -> Result<Option<Limit>, AlreadyReported> {
    let Some(text) = value.filled()? else { return Ok(None) };
    let written = text.as_str();
    if written.eq_ignore_ascii_case("unlimited") {
        return Ok(Some(Limit::Unlimited));
    }
    let is_digits = written.bytes().all(|byte| byte.is_ascii_digit());
    let number = written.parse().ok().filter(|_| is_digits).and_then(NonZeroU32::new);
    match number.filter(|number| LIMIT.contains(&number.get())) {
        Some(most) => Ok(Some(Limit::AtMost(most))),
        None => Err(text.mistake(format!(
            "{} is not a limit; write a whole number from {} to {}, or 'unlimited'",
            text.shown(),
            LIMIT.start(),
            LIMIT.end()
        ))),
    }
}
