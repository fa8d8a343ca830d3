//! Differences between the reference and this server that `docs/differences.md` describes. They are
//! counted by themselves, and do not speak against the exchange.

use kes_api::{Operation, message};

use crate::sides::Sides;
use crate::verdict::{Differs, Seen};

/// What `docs/differences.md` says of a difference; `None` if it is not one of those.
pub(crate) fn known(
    operation: Operation,
    resource: &str,
    differs: Differs,
    seen: &Sides<Seen>,
) -> Option<&'static str> {
    use Operation as Op;
    let Sides { old, new } = seen;
    let says = |seen: &Seen, message: &message::Message| {
        seen.status == message.status && seen.message.as_deref() == Some(&*message.text)
    };
    let is_refused_body =
        says(old, &message::INVALID_BODY) || says(old, &message::INVALID_IMPORT_BODY);
    if is_refused_body && says(new, &message::BODY_TOO_LARGE) {
        return Some("body_too_large");
    }
    match operation {
        // The reference looks up an empty name for everybody but the admin.
        Op::SelfDescribe if says(old, &message::IDENTITY_NOT_FOUND) && new.status == 200 => {
            Some("self_description")
        }
        Op::BulkDecrypt if old.status == 404 && old.message.as_deref() == Some(NO_ROUTE) => {
            Some("bulk_decryption")
        }
        // In the reference a `*` alone has a meaning for keys, and a pattern may not end in `-` or be
        // `_`.
        _ if operation.lists()
            && new.status == 200
            && is_better_pattern(resource)
            && matches!(differs, Differs::Status | Differs::Body) =>
        {
            Some("list_pattern")
        }
        _ => None,
    }
}

/// What a server says of a path without a route.
const NO_ROUTE: &str = "404 page not found";

fn is_better_pattern(pattern: &str) -> bool {
    pattern.len() > 1 && pattern.ends_with(['*', '-']) || pattern == "_"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(status: u16, message: &str) -> Seen {
        let message = (!message.is_empty()).then(|| message.to_owned());
        Seen { status, message }
    }

    #[test]
    fn what_is_documented_is_known_in_one_direction() {
        use Operation as Op;
        let ok = || seen(200, "");
        for (operation, resource, old, new, name) in [
            (
                Op::EncryptKey,
                "k",
                seen(400, "invalid request body"),
                seen(413, "request body is too large"),
                "body_too_large",
            ),
            (
                Op::ImportKey,
                "k",
                seen(400, "invalid import key request body"),
                seen(413, "request body is too large"),
                "body_too_large",
            ),
            (Op::SelfDescribe, "", seen(404, "identity does not exist"), ok(), "self_description"),
            (Op::BulkDecrypt, "k", seen(404, NO_ROUTE), ok(), "bulk_decryption"),
            (Op::ListKeys, "minio-", seen(400, "x"), ok(), "list_pattern"),
            (Op::ListKeys, "minio*", ok(), ok(), "list_pattern"),
        ] {
            let differs = if old.status == new.status { Differs::Body } else { Differs::Status };
            let both = Sides { old: old.clone(), new: new.clone() };
            assert_eq!(known(operation, resource, differs, &both), Some(name));
            if old != new {
                let turned = Sides { old: new, new: old };
                assert_eq!(known(operation, resource, differs, &turned), None, "{name}");
            }
        }
        let both = Sides { old: seen(200, ""), new: seen(404, "key does not exist") };
        assert_eq!(known(Op::DescribeKey, "k", Differs::Status, &both), None);
        let both = Sides { old: ok(), new: ok() };
        assert_eq!(known(Op::ListKeys, "minio", Differs::Body, &both), None);
        assert_eq!(known(Op::ListKeys, "*", Differs::Body, &both), None);
    }
}
