use std::num::NonZeroU32;

use kes_api::body::{self, DescribePolicy, PolicyPatterns, ReadPolicy};
use kes_api::{KeyName, PolicyName};
use kes_keystore::Page;
use kes_policy::{Limits, Policy};

use super::{Call, page};
use crate::service::answer::Answer;
use crate::service::error::{Error, NameKind};

pub(super) fn describe(call: &Call<'_>) -> Result<Answer, Error> {
    let policy = find(call)?;
    Ok(Answer::json(&DescribePolicy {
        name: policy.name().to_owned(),
        created_at: call.context.service.started_at,
        created_by: call.context.generation.author(),
    }))
}

pub(super) fn read(call: &Call<'_>) -> Result<Answer, Error> {
    let policy = find(call)?;
    let generation = &call.context.generation;
    Ok(Answer::json(&ReadPolicy {
        name: policy.name().to_owned(),
        allow: patterns(policy.allow()),
        deny: patterns(policy.deny()),
        limits: generation.policies.limits_of_policy(policy).map(|own| limits(&own)),
        created_at: call.context.service.started_at,
        created_by: generation.author(),
    }))
}

pub(super) async fn list(call: &Call<'_>) -> Result<Answer, Error> {
    let pattern = call.pattern()?;
    let make = async |limit| {
        let policies = call.context.generation.policies.policies().map(Policy::name);
        let names = policies.filter(|name| pattern.matches(name));
        // Names of policies follow the same rule as names of keys.
        Ok(Page::first(names.filter_map(|name| KeyName::parse(name).ok()), limit))
    };
    Box::pin(page::answer(&page::POLICIES, &pattern, make)).await
}

/// Patterns as the keys of a JSON object.
pub(super) fn patterns<'a>(patterns: impl Iterator<Item = &'a str>) -> PolicyPatterns {
    patterns.map(|pattern| (pattern.to_owned(), serde_json::Map::new())).collect()
}

/// Limits as the body of an answer.
pub(super) fn limits(limits: &Limits) -> body::Limits {
    let number = |limit: Option<NonZeroU32>| limit.map(NonZeroU32::get);
    body::Limits {
        requests_per_second: number(limits.requests_per_second),
        requests_at_once: number(limits.requests_at_once),
        store_calls_per_second: number(limits.store_calls_per_second),
    }
}

fn find<'a>(call: &'a Call<'_>) -> Result<&'a Policy, Error> {
    let name = call.context.target.resource();
    if PolicyName::parse(name).is_err() {
        return Err(Error::Name { kind: NameKind::Policy, name: name.to_owned() });
    }
    call.context.generation.policies.policy(name).ok_or(Error::PolicyNotFound)
}
