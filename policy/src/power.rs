//! What an operation lets its caller do, however its path is written.
//!
//! Two operations have one power if each gives all that the other gives. A deny pattern that matches
//! the path of one refuses both (contract `config.md`, Policies).

use kes_api::{Identity, ListPattern, Operation};

/// What an operation lets its caller do with its resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Power {
    ShowVersion,
    ProbeReadiness,
    ReadStatus,
    ReadMetrics,
    ListApis,
    CreateKeys,
    ImportKeys,
    DescribeKeys,
    DeleteKeys,
    ListKeys,
    GenerateDataKeys,
    Encrypt,
    /// To get plaintexts, one at a time or many: who may do one can do the other.
    Decrypt,
    ComputeHmacs,
    DescribePolicies,
    ReadPolicies,
    ListPolicies,
    DescribeIdentities,
    ListIdentities,
    DescribeSelf,
    FollowErrors,
    /// To learn who asks for what: as it happens, or what was refused of late.
    FollowRequests,
}

impl Power {
    /// The power that an operation uses.
    pub(crate) const fn of(operation: Operation) -> Self {
        match operation {
            Operation::Version => Self::ShowVersion,
            Operation::Ready => Self::ProbeReadiness,
            Operation::Status => Self::ReadStatus,
            Operation::Metrics => Self::ReadMetrics,
            Operation::ListApis => Self::ListApis,
            Operation::CreateKey => Self::CreateKeys,
            Operation::ImportKey => Self::ImportKeys,
            Operation::DescribeKey => Self::DescribeKeys,
            Operation::DeleteKey => Self::DeleteKeys,
            Operation::ListKeys => Self::ListKeys,
            Operation::GenerateKey => Self::GenerateDataKeys,
            Operation::EncryptKey => Self::Encrypt,
            Operation::DecryptKey | Operation::BulkDecrypt => Self::Decrypt,
            Operation::Hmac => Self::ComputeHmacs,
            Operation::DescribePolicy => Self::DescribePolicies,
            Operation::ReadPolicy => Self::ReadPolicies,
            Operation::ListPolicies => Self::ListPolicies,
            Operation::DescribeIdentity => Self::DescribeIdentities,
            Operation::ListIdentities => Self::ListIdentities,
            Operation::SelfDescribe => Self::DescribeSelf,
            Operation::ErrorLog => Self::FollowErrors,
            Operation::AuditLog | Operation::Refusals => Self::FollowRequests,
        }
    }

    /// The operations that use a power which several have. A table, as it is read for each request.
    const fn shared_by(self) -> &'static [Operation] {
        match self {
            Self::Decrypt => &[Operation::DecryptKey, Operation::BulkDecrypt],
            Self::FollowRequests => &[Operation::AuditLog, Operation::Refusals],
            _ => &[],
        }
    }
}

/// The other operations that have the power of this one.
pub(crate) fn others(operation: Operation) -> impl Iterator<Item = Operation> {
    let same = Power::of(operation).shared_by().iter().copied();
    same.filter(move |other| *other != operation)
}

/// An operation that gives all that this one gives on the same resource, and more. A deny of this
/// one does not refuse it: policies of the reference tell the two apart, and one may be meant
/// without the other.
pub(crate) const fn wider(operation: Operation) -> Option<Operation> {
    match operation {
        // Who chooses the plaintext can choose a random one.
        Operation::GenerateKey => Some(Operation::EncryptKey),
        Operation::CreateKey => Some(Operation::ImportKey),
        Operation::DescribePolicy => Some(Operation::ReadPolicy),
        _ => None,
    }
}

/// Calls `with` with the usual spelling of a resource that has several: the prefix of a listing, and
/// an identity in lower case. What has no other spelling is passed as it is.
pub(crate) fn with_canonical<R>(
    operation: Operation,
    resource: &str,
    with: impl FnOnce(&str) -> R,
) -> R {
    if operation.lists() {
        return with(ListPattern::parse(resource).map_or(resource, |pattern| pattern.prefix()));
    }
    match operation {
        Operation::DescribeIdentity => match resource.parse::<Identity>() {
            Ok(identity) => with(identity.to_hex().as_str()),
            Err(_) => with(resource),
        },
        _ => with(resource),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kes_api::route::ROUTES;

    #[test]
    fn operations_of_one_power_know_each_other() {
        for operation in ROUTES.map(|route| route.operation) {
            let same = |other: &Operation| Power::of(*other) == Power::of(operation);
            let expected: Vec<_> = ROUTES
                .map(|route| route.operation)
                .into_iter()
                .filter(|other| *other != operation && same(other))
                .collect();
            assert_eq!(others(operation).collect::<Vec<_>>(), expected, "{operation:?}");
            // Otherwise a deny could not be compared for one resource.
            let takes_name = |operation: Operation| operation.route().takes_name();
            assert!(expected.iter().all(|other| takes_name(*other) == takes_name(operation)));
        }
    }

    #[test]
    fn resources_have_one_usual_spelling() {
        let canonical = |operation, resource: &str| {
            with_canonical(operation, resource, |canonical| canonical.to_owned())
        };
        for resource in ["a", "a*", "a*b"] {
            assert_eq!(canonical(Operation::ListKeys, resource), "a");
            assert_eq!(canonical(Operation::DecryptKey, resource), resource);
        }
        assert_eq!(canonical(Operation::ListPolicies, "*"), "");
        assert_eq!(canonical(Operation::ListIdentities, "a/b*"), "a/b*", "not a pattern");
        let identity = Identity::of_public_key(&[1]).to_string();
        let upper = identity.to_uppercase();
        assert_eq!(canonical(Operation::DescribeIdentity, &upper), identity);
        assert_eq!(canonical(Operation::DescribeIdentity, "ABC"), "ABC");
        assert_eq!(canonical(Operation::CreateKey, &upper), upper, "a name has its case");
    }
}
