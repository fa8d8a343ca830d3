//! The answers of both servers to one request.

use kes_api::body::{Ciphertext, DataKey, Hmac, Plaintext};
use kes_api::{Operation, SecretBytes};
use kes_client::Relayed;
use serde::de::DeserializeOwned;
use subtle::ConstantTimeEq as _;

use crate::known::known;
use crate::plan::Reason;
use crate::shape::{self, Mismatch};
use crate::sides::Sides;
use crate::verdict::{Difference, Differs, Seen, Verdict};

/// Why two bodies differ.
#[cfg_attr(test, derive(Debug, PartialEq))]
enum Unequal {
    Body(Mismatch),
    Value,
}

impl From<Mismatch> for Unequal {
    fn from(mismatch: Mismatch) -> Self {
        Self::Body(mismatch)
    }
}

/// Compares the answers to a request for an operation on what its path names.
pub(crate) fn compare(operation: Operation, resource: &str, answers: &Sides<Relayed>) -> Verdict {
    let Sides { old, new } = answers;
    let seen = Sides { old: Seen::of(old), new: Seen::of(new) };
    if [&seen.old, &seen.new].iter().any(|seen| seen.status == 429) {
        return Verdict::Not(Reason::Limit);
    }
    let unequal = if seen.old.status != seen.new.status {
        Some((Differs::Status, String::new()))
    } else if seen.old.message != seen.new.message {
        Some((Differs::Message, String::new()))
    } else if old.status.is_success() {
        match bodies(operation, &old.body, &new.body) {
            Ok(()) => None,
            Err(Unequal::Body(Mismatch(field))) => Some((Differs::Body, field)),
            Err(Unequal::Value) => Some((Differs::Value, String::new())),
        }
    } else {
        None
    };
    match unequal {
        None => Verdict::Equal,
        Some((differs, detail)) => match known(operation, resource, differs, &seen) {
            Some(known) => Verdict::Known(known),
            None => Verdict::Differs(Difference { differs, detail, seen }),
        },
    }
}

/// Compares the bodies of two answers with status 200.
fn bodies(operation: Operation, old: &[u8], new: &[u8]) -> Result<(), Unequal> {
    use Operation as Op;
    match operation {
        Op::Ready | Op::CreateKey | Op::ImportKey | Op::DeleteKey => {
            let same = old.is_empty() == new.is_empty();
            if same { Ok(()) } else { Err(Mismatch(String::new()).into()) }
        }
        Op::Version | Op::Status => {
            let (old, new) = shape::parse(old, new)?;
            Ok(shape::fits(&old, &new)?)
        }
        Op::ListApis => {
            let (old, new) = shape::parse(old, new)?;
            Ok(shape::have_the_same_apis(&old, &new)?)
        }
        Op::DescribeKey => described(old, new, &["name", "algorithm"]),
        Op::DescribePolicy => described(old, new, &["name"]),
        Op::DescribeIdentity => described(old, new, &["admin", "policy"]),
        Op::ReadPolicy => {
            let (old, new) = shape::parse(old, new)?;
            Ok(shape::say_the_same(&old, &new, &["name", "allow", "deny"])?)
        }
        // The two have different forms of a policy.
        Op::SelfDescribe => {
            let (old, new) = shape::parse(old, new)?;
            Ok(shape::say_the_same(&old, &new, &["identity", "admin"])?)
        }
        Op::ListKeys | Op::ListPolicies => {
            let (old, new) = shape::parse(old, new)?;
            Ok(shape::list_the_same(&old, &new, "names")?)
        }
        Op::ListIdentities => {
            let (old, new) = shape::parse(old, new)?;
            Ok(shape::list_the_same(&old, &new, "identities")?)
        }
        Op::GenerateKey => {
            let (old, new) = (read::<DataKey>(old)?, read::<DataKey>(new)?);
            let length = |key: &DataKey| key.plaintext.expose().len();
            let same = length(&old) == length(&new);
            if same { Ok(()) } else { Err(Mismatch("plaintext".to_owned()).into()) }
        }
        Op::EncryptKey => {
            read::<Ciphertext>(old)?;
            read::<Ciphertext>(new)?;
            Ok(())
        }
        Op::DecryptKey => {
            let (old, new) = (read::<Plaintext>(old)?, read::<Plaintext>(new)?);
            same_value(&old.plaintext, &new.plaintext)
        }
        Op::BulkDecrypt => {
            let (old, new) = (read::<Vec<Plaintext>>(old)?, read::<Vec<Plaintext>>(new)?);
            if old.len() != new.len() {
                return Err(Unequal::Value);
            }
            old.iter()
                .zip(&new)
                .try_for_each(|(old, new)| same_value(&old.plaintext, &new.plaintext))
        }
        Op::Hmac => {
            let (old, new) = (read::<Hmac>(old)?, read::<Hmac>(new)?);
            same_value(&old.hmac, &new.hmac)
        }
        // Not sent to both servers.
        Op::Metrics | Op::ErrorLog | Op::AuditLog | Op::Refusals => Ok(()),
    }
}

fn described(old: &[u8], new: &[u8], fields: &[&str]) -> Result<(), Unequal> {
    let (old, new) = shape::parse(old, new)?;
    shape::fits(&old, &new)?;
    Ok(shape::say_the_same(&old, &new, fields)?)
}

/// Reads a body that may be secret. The parser's own error may contain a part of it.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Mismatch> {
    serde_json::from_slice(body).map_err(|_| Mismatch(String::new()))
}

fn same_value(old: &SecretBytes, new: &SecretBytes) -> Result<(), Unequal> {
    if is_same(old, new) { Ok(()) } else { Err(Unequal::Value) }
}

/// Whether two values are the same, in constant time but for their lengths.
pub(crate) fn is_same(one: &SecretBytes, other: &SecretBytes) -> bool {
    one.expose().ct_eq(other.expose()).into()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};

    use super::*;

    fn answer(status: u16, body: &str) -> Relayed {
        let status = StatusCode::from_u16(status).unwrap();
        Relayed { status, headers: HeaderMap::new(), body: Bytes::from(body.to_owned()) }
    }

    fn verdict(operation: Operation, old: (u16, &str), new: (u16, &str)) -> Verdict {
        let answers = Sides { old: answer(old.0, old.1), new: answer(new.0, new.1) };
        compare(operation, "my-key", &answers)
    }

    fn differs(verdict: Verdict) -> (Differs, String) {
        let Verdict::Differs(found) = verdict else { panic!("{verdict:?}") };
        (found.differs, found.detail)
    }

    const MISSING: (u16, &str) = (404, r#"{"message":"key does not exist"}"#);

    #[test]
    fn statuses_and_messages_are_compared() {
        use Operation as Op;
        assert_eq!(verdict(Op::DescribeKey, MISSING, MISSING), Verdict::Equal);
        let spaced = (404, "{ \"message\" : \"key does not exist\" }\n");
        assert_eq!(verdict(Op::DescribeKey, MISSING, spaced), Verdict::Equal);
        let other = (404, r#"{"message":"no such key"}"#);
        let (what, _) = differs(verdict(Op::DescribeKey, MISSING, other));
        assert_eq!(what, Differs::Message);
        let refused = (403, r#"{"message":"not authorized: insufficient permissions"}"#);
        let found = verdict(Op::DescribeKey, refused, MISSING);
        let Verdict::Differs(found) = found else { panic!() };
        assert_eq!((found.seen.old.status, found.seen.new.status), (403, 404));
        assert_eq!(found.seen.new.message.as_deref(), Some("key does not exist"));
        let limited = (429, r#"{"message":"too many requests per second"}"#);
        assert_eq!(verdict(Op::Hmac, MISSING, limited), Verdict::Not(Reason::Limit));
    }

    #[test]
    fn values_are_compared_where_both_servers_must_say_the_same() {
        use Operation as Op;
        let plaintext = |text: &str| (200, format!(r#"{{"plaintext":"{text}"}}"#));
        let (one, two) = (plaintext("YWJj"), plaintext("YWJk"));
        let case = |old: &(u16, String), new: &(u16, String)| {
            verdict(Op::DecryptKey, (old.0, &old.1), (new.0, &new.1))
        };
        assert_eq!(case(&one, &one), Verdict::Equal);
        assert_eq!(differs(case(&one, &two)).0, Differs::Value);
        let bulk = |old: &str, new: &str| verdict(Op::BulkDecrypt, (200, old), (200, new));
        let (a, b) = (r#"[{"plaintext":"YWJj"}]"#, r#"[{"plaintext":"YWJk"}]"#);
        assert_eq!(bulk(a, a), Verdict::Equal);
        assert_eq!(differs(bulk(a, b)).0, Differs::Value);
        assert_eq!(differs(bulk(a, "[]")).0, Differs::Value);
        let hmac = |old: &str, new: &str| verdict(Op::Hmac, (200, old), (200, new));
        assert_eq!(differs(hmac(r#"{"hmac":"YQ=="}"#, r#"{"hmac":"Yg=="}"#)).0, Differs::Value);
        let key = |algorithm: &str| {
            format!(
                r#"{{"name":"my-key","algorithm":"{algorithm}","created_at":"t","created_by":""}}"#
            )
        };
        let found = verdict(Op::DescribeKey, (200, &key("AES256")), (200, &key("ChaCha20")));
        assert_eq!(differs(found), (Differs::Body, "algorithm".to_owned()));
    }

    #[test]
    fn what_is_random_is_compared_in_its_form() {
        use Operation as Op;
        let generate = |old: &str, new: &str| verdict(Op::GenerateKey, (200, old), (200, new));
        let of = |plaintext: &str| format!(r#"{{"plaintext":"{plaintext}","ciphertext":"YQ=="}}"#);
        assert_eq!(generate(&of("YWJj"), &of("YWJk")), Verdict::Equal);
        let found = differs(generate(&of("YWJj"), &of("YWI=")));
        assert_eq!(found, (Differs::Body, "plaintext".to_owned()));
        let found = differs(generate(&of("YWJj"), r#"{"plaintext":"YWJj"}"#));
        assert_eq!(found, (Differs::Body, String::new()));
        let encrypt =
            |new: &str| verdict(Op::EncryptKey, (200, r#"{"ciphertext":"YQ=="}"#), (200, new));
        assert_eq!(encrypt(r#"{"ciphertext":"YWJj"}"#), Verdict::Equal);
        assert_eq!(differs(encrypt("x")).0, Differs::Body);
    }

    /// Bodies that the reference has sent (`docs/contract/answers.json`), beside those of ours.
    #[test]
    fn answers_of_the_reference_and_of_ours_are_equal() {
        use Operation as Op;
        let status = r#"{"version":"v","os":"linux","arch":"amd64","uptime":1,"num_cpu":2,"num_cpu_used":2,"mem_heap_used":3,"mem_stack_used":4,"keystore_latency":1}"#;
        let ours = status.replace('}', r#","last_reload":{"time":"t","result":"success"}}"#);
        assert_eq!(verdict(Op::Status, (200, status), (200, &ours)), Verdict::Equal);
        let away = status.replace(r#""keystore_latency":1"#, r#""keystore_unreachable":true"#);
        let found = verdict(Op::Status, (200, status), (200, &away));
        assert_eq!(differs(found), (Differs::Body, "keystore_latency".to_owned()));
        let read = r#"{"name":"p","allow":{"/v1/status":{}},"created_at":"1","created_by":"a"}"#;
        let ours =
            r#"{"name":"p","allow":{"/v1/status":{}},"deny":{},"created_at":"2","created_by":"a"}"#;
        assert_eq!(verdict(Op::ReadPolicy, (200, read), (200, ours)), Verdict::Equal);
        let more = read.replace(r#""/v1/status":{}"#, r#""/v1/status":{},"/v1/key/*":{}"#);
        let found = verdict(Op::ReadPolicy, (200, read), (200, &more));
        assert_eq!(differs(found), (Differs::Body, "allow".to_owned()));
        let apis = r#"[{"method":"GET","path":"/version","max_body":0,"timeout":10}]"#;
        let ours = r#"[{"method":"GET","path":"/version","max_body":0,"timeout":15},{"method":"PUT","path":"/v1/key/bulk/decrypt/","max_body":1,"timeout":15}]"#;
        assert_eq!(verdict(Op::ListApis, (200, apis), (200, ours)), Verdict::Equal);
        assert_eq!(differs(verdict(Op::ListApis, (200, ours), (200, apis))).0, Differs::Body);
        let list = r#"{"names":["a"],"continue_at":""}"#;
        let ours = r#"{"names":["a"]}"#;
        assert_eq!(verdict(Op::ListKeys, (200, list), (200, ours)), Verdict::Equal);
    }
}
