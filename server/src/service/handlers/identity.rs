use kes_api::body::{DescribeIdentity, SelfDescribe};
use kes_api::{Identity, KeyName};
use kes_keystore::Page;

use super::policy::{limits, patterns};
use super::{Call, page};
use crate::service::answer::Answer;
use crate::service::error::{Error, NameKind};

pub(super) fn describe(call: &Call<'_>) -> Result<Answer, Error> {
    let name = call.context.target.resource();
    // An identity has to follow the rule for names; a name that is no hash is unknown.
    if KeyName::parse(name).is_err() {
        return Err(Error::Name { kind: NameKind::Identity, name: name.to_owned() });
    }
    let identity: Identity = name.parse().map_err(|_| Error::IdentityNotFound)?;
    let policies = &call.context.generation.policies;
    let admin = policies.is_admin(&identity);
    let policy = policies.policy_of(&identity);
    if !admin && policy.is_none() {
        return Err(Error::IdentityNotFound);
    }
    Ok(Answer::json(&DescribeIdentity {
        admin,
        policy: policy.map(|policy| policy.name().to_owned()),
        limits: policies.limits_of(&identity).map(limits),
        created_at: call.context.service.started_at,
        created_by: (!admin).then(|| call.context.generation.author()),
    }))
}

pub(super) async fn list(call: &Call<'_>) -> Result<Answer, Error> {
    let pattern = call.pattern()?;
    let make = async |limit| {
        let identities = call.context.generation.policies.identities().map(Identity::to_string);
        let matching = identities.filter(|identity| pattern.matches(identity));
        // An identity follows the rule for names.
        let names = matching.filter_map(|identity| KeyName::parse(&identity).ok());
        Ok(Page::first(names, limit))
    };
    Box::pin(page::answer(&page::IDENTITIES, &pattern, make)).await
}

/// Describes the caller, even if it is in no policy.
pub(super) fn self_describe(call: &Call<'_>) -> Result<Answer, Error> {
    let identity = call.permit.identity().ok_or(Error::IdentityNotFound)?;
    let policies = &call.context.generation.policies;
    let admin = policies.is_admin(&identity);
    let policy = policies.policy_of(&identity);
    Ok(Answer::json(&SelfDescribe {
        identity,
        admin,
        created_at: call.context.service.started_at,
        created_by: (!admin).then(|| call.context.generation.author()),
        policy_name: policy.map(|policy| policy.name().to_owned()),
        allow: policy.map(|policy| patterns(policy.allow())),
        deny: policy.map(|policy| patterns(policy.deny())),
        limits: policies.limits_of(&identity).map(limits),
        policy: None,
    }))
}
