//! Response bodies. The server serializes these types and clients parse them. Bodies that may
//! contain plaintext are written by functions, each into one buffer that is wiped.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bytes::encode;
use crate::{Identity, SecretBytes, Timestamp};

/// The answer of `/version`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Version {
    /// The server's version.
    pub version: String,
    /// The commit that it was built from.
    pub commit: String,
}

/// The answer of `/v1/status`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The server's version.
    pub version: String,
    /// Go's word for the operating system.
    pub os: String,
    /// Go's word for the processor's architecture.
    pub arch: String,
    /// Seconds since the start.
    pub uptime: u64,
    /// Processors of the machine.
    pub num_cpu: usize,
    /// Processors that the server uses.
    pub num_cpu_used: usize,
    /// Bytes of heap in use.
    pub mem_heap_used: u64,
    /// Bytes of stack in use.
    pub mem_stack_used: u64,
    /// Milliseconds that the key store takes to answer, at least 1; absent when unreachable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keystore_latency: Option<u64>,
    /// Present and true when the key store cannot be reached.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub keystore_unreachable: bool,
    /// How many pinned keys the key store was found not to have; absent if it has all.
    #[serde(skip_serializing_if = "is_zero")]
    pub pinned_key_faults: usize,
    /// The snapshot of the keys in use; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
    /// Present and true if all cryptography is that of a FIPS 140-3 module.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub fips: bool,
    /// The last reload of the configuration; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_reload: Option<Reload>,
    /// The last time that the certificate files were read again by themselves; absent before the
    /// first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_certificate_reload: Option<Reload>,
    /// The last hand-over to another process that failed, or that from another process; absent before
    /// the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_handover: Option<Reload>,
    /// The two key stores that are used at once; absent if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub migration: Option<Migration>,
}

/// Two key stores that are used at once. Texts and names are for the admin alone.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Migration {
    /// Which is asked first: `old` or `new`.
    pub read: String,
    /// Where new keys are stored: `old`, `both` or `new`.
    pub write: String,
    /// Whether both are asked for every key.
    pub compare: bool,
    /// The one that the keys are moved from.
    pub old: MigrationStore,
    /// The one that they are moved to.
    pub new: MigrationStore,
    /// How many keys stand where; absent until they were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<MigrationKeys>,
    /// Why they were not counted the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_counted: Option<String>,
    /// Reads since the start that found different values.
    pub differences: u64,
    /// The first keys that were found so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differing: Vec<String>,
    /// Reads since the start that were answered by the store that is asked second.
    pub second_reads: u64,
    /// Changes that were made in one store and are still to be made in the other one.
    pub unfinished: usize,
}

/// One of two key stores.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MigrationStore {
    /// Kind and place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Whether it does not serve.
    pub unreachable: bool,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// How many keys stand where.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MigrationKeys {
    /// In the old store alone.
    pub old: usize,
    /// In the new store alone.
    pub new: usize,
    /// In both.
    pub both: usize,
    /// When they were counted.
    pub time: Timestamp,
    /// The first names of those in the old store alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub old_names: Vec<String>,
    /// The same of the new store.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub new_names: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// The keys that a server has in a file for a restart while the key store is away.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// How many there are.
    pub keys: usize,
    /// When the file was written; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<Timestamp>,
    /// Present and true while they are used, because the key store cannot be reached.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub used: bool,
    /// Present and true if the file could not be written, or was found and not used.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
    /// Why; for the admin alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How a reload or a hand-over ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reload {
    /// When.
    pub time: Timestamp,
    /// `success` or `error`.
    pub result: String,
    /// What changed or was taken over, in one line; absent after an error, after which nothing has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<String>,
    /// Why the server goes on with what it had, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// An item of the answer of `/v1/api`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of `Route`")]
pub struct Api {
    pub method: String,
    pub path: String,
    pub max_body: u64,
    /// Whole seconds; 0 for none.
    pub timeout: u64,
    /// Whether the configuration exempts it from certificates and policies.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip_auth: bool,
}

/// What the policies of a server have refused of late, and refuse still.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refusals {
    /// The start of the server, before which nothing is known.
    pub since: Timestamp,
    /// How many different requests were forgotten because there were too many.
    #[serde(default)]
    pub forgotten: u64,
    /// The requests of one identity stand together.
    #[serde(default)]
    pub refusals: Vec<RefusedRequest>,
}

/// Equal requests that the policies have refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedRequest {
    /// Who asked.
    pub identity: Identity,
    /// The policy of the identity, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The method of the route.
    pub method: String,
    /// The decoded path.
    pub path: String,
    /// The deny pattern that refuses it, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied_by: Option<String>,
    /// How often it was refused.
    pub count: u64,
    /// When it was first.
    pub first: Timestamp,
    /// When it was last.
    pub last: Timestamp,
}

/// The answer of a key description.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are the contract's")]
pub struct DescribeKey {
    pub name: String,
    #[serde(default)]
    pub algorithm: String,
    pub created_at: Timestamp,
    #[serde(default)]
    pub created_by: String,
    /// Absent from older servers and from the reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// When the server that was asked last used it, in whole seconds; absent if it did not since
    /// `uses_known_since`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
    /// An identity; absent if the user had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_by: Option<String>,
    /// From when on that server knows uses of keys. Absent from older servers and from the reference,
    /// and for callers who may not delete the key, as the other two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses_known_since: Option<Timestamp>,
}

/// A page of key or policy names.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NamePage {
    /// Sorted by bytes.
    pub names: Vec<String>,
    /// The pattern of the next page; absent or empty after the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub continue_at: Option<String>,
}

/// A page of identities.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct IdentityPage {
    /// Sorted.
    pub identities: Vec<String>,
    /// The pattern of the next page; empty after the last.
    pub continue_at: String,
}

/// The answer of a policy description.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are the contract's")]
pub struct DescribePolicy {
    pub name: String,
    pub created_at: Timestamp,
    #[serde(default)]
    pub created_by: String,
}

/// Patterns of a policy, as an object with empty objects for values.
pub type PolicyPatterns = BTreeMap<String, serde_json::Map<String, serde_json::Value>>;

/// How much one identity may ask for; a limit that is absent does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Requests a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
    /// Requests at one time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_at_once: Option<u32>,
    /// Calls to the key store a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store_calls_per_second: Option<u32>,
}

/// The answer of a policy read.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are the contract's")]
pub struct ReadPolicy {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(default)]
    pub allow: PolicyPatterns,
    #[serde(default)]
    pub deny: PolicyPatterns,
    /// Of each identity of the policy that has none of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    pub created_at: Timestamp,
    #[serde(default)]
    pub created_by: String,
}

/// The answer of an identity description.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are the contract's")]
pub struct DescribeIdentity {
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub admin: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    pub created_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
}

/// The answer of a self description (contract `api.md`, Bodies).
///
/// The reference sends an object in `policy`; the SDK expects a string there, and the patterns at
/// the top level. An answer without `policy` is valid for both, so the patterns are at the top
/// level and the policy's name has a field of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are the contract's")]
pub struct SelfDescribe {
    pub identity: Identity,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub admin: bool,
    pub created_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// The name of the caller's policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<PolicyPatterns>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny: Option<PolicyPatterns>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Parsed from other servers, never sent: see above.
    #[serde(default, skip_serializing)]
    pub policy: Option<SelfPolicy>,
}

/// The policy in another server's self description.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SelfPolicy {
    /// The same object as in the answer of a policy read.
    Object(Box<ReadPolicy>),
    /// The policy's name alone.
    Name(String),
}

/// The body of every error.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ErrorBody {
    /// See [`crate::message`].
    pub message: String,
}

/// The answer of a data key generation.
#[derive(Deserialize)]
#[expect(missing_docs, reason = "the fields are the contract's")]
pub struct DataKey {
    pub plaintext: SecretBytes,
    pub ciphertext: SecretBytes,
}

/// The answer of an encryption.
#[derive(Deserialize)]
#[expect(missing_docs, reason = "the fields are the contract's")]
pub struct Ciphertext {
    pub ciphertext: SecretBytes,
}

/// The answer of a decryption.
#[derive(Deserialize)]
#[expect(missing_docs, reason = "the fields are the contract's")]
pub struct Plaintext {
    pub plaintext: SecretBytes,
}

/// The answer of an HMAC computation.
#[derive(Deserialize)]
#[expect(missing_docs, reason = "the fields are the contract's")]
pub struct Hmac {
    pub hmac: SecretBytes,
}

/// `{"plaintext":"…","ciphertext":"…"}`
pub fn generate_json(plaintext: &[u8], ciphertext: &[u8]) -> SecretBytes {
    SecretBytes::new(write(&[
        Part::Json(r#"{"plaintext":""#),
        Part::Bytes(plaintext),
        Part::Json(r#"","ciphertext":""#),
        Part::Bytes(ciphertext),
        Part::Json("\"}\n"),
    ]))
}

/// `{"ciphertext":"…"}`
pub fn ciphertext_json(ciphertext: &[u8]) -> Vec<u8> {
    write(&[Part::Json(r#"{"ciphertext":""#), Part::Bytes(ciphertext), Part::Json("\"}\n")])
}

/// `{"plaintext":"…"}`
pub fn plaintext_json(plaintext: &[u8]) -> SecretBytes {
    SecretBytes::new(write(&[
        Part::Json(r#"{"plaintext":""#),
        Part::Bytes(plaintext),
        Part::Json("\"}\n"),
    ]))
}

/// `{"hmac":"…"}`
pub fn hmac_json(hmac: &[u8]) -> Vec<u8> {
    write(&[Part::Json(r#"{"hmac":""#), Part::Bytes(hmac), Part::Json("\"}\n")])
}

/// `[{"plaintext":"…"},…]`
pub fn plaintexts_json<'a>(plaintexts: impl IntoIterator<Item = &'a [u8]>) -> SecretBytes {
    let mut parts = vec![Part::Json("[")];
    for (index, plaintext) in plaintexts.into_iter().enumerate() {
        let start = if index == 0 { r#"{"plaintext":""# } else { r#",{"plaintext":""# };
        parts.extend([Part::Json(start), Part::Bytes(plaintext), Part::Json("\"}")]);
    }
    parts.push(Part::Json("]\n"));
    SecretBytes::new(write(&parts))
}

enum Part<'a> {
    Json(&'static str),
    Bytes(&'a [u8]),
}

/// Allocates the exact size at once: a vector that grows leaves an unwiped copy behind.
fn write(parts: &[Part<'_>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(parts.iter().map(Part::len).sum());
    for part in parts {
        match part {
            Part::Json(text) => out.extend_from_slice(text.as_bytes()),
            Part::Bytes(bytes) => encode(bytes, &mut out),
        }
    }
    out
}

impl Part<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Json(text) => text.len(),
            Self::Bytes(bytes) => bytes.len().div_ceil(3) * 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(body: &SecretBytes) -> &str {
        std::str::from_utf8(body.expose()).unwrap()
    }

    #[test]
    fn bodies_with_bytes() {
        let expected = "{\"plaintext\":\"aGVsbG8=\",\"ciphertext\":\"aGk=\"}\n";
        assert_eq!(text(&generate_json(b"hello", b"hi")), expected);
        assert_eq!(ciphertext_json(b""), b"{\"ciphertext\":\"\"}\n");
        assert_eq!(text(&plaintext_json(b"abc")), "{\"plaintext\":\"YWJj\"}\n");
        assert_eq!(hmac_json(b"abcd"), b"{\"hmac\":\"YWJjZA==\"}\n");
        assert_eq!(text(&plaintexts_json([])), "[]\n");
        let two = plaintexts_json([b"hi".as_slice(), b""]);
        assert_eq!(text(&two), "[{\"plaintext\":\"aGk=\"},{\"plaintext\":\"\"}]\n");
    }

    #[test]
    fn a_client_reads_both_forms_of_the_policy() {
        let object = r#"{"identity":"7e1c8a3d0b5f4e6a9c2d1f0e3b4a5968778695a4b3c2d1e0f9e8d7c6b5a49382","created_at":"2022-05-01T10:00:00Z","policy":{"allow":{"/v1/status":{}},"deny":{},"created_at":"2022-05-01T10:00:00Z"}}"#;
        let read: SelfDescribe = serde_json::from_str(object).unwrap();
        assert!(matches!(read.policy, Some(SelfPolicy::Object(_))));
        let name = r#"{"identity":"7e1c8a3d0b5f4e6a9c2d1f0e3b4a5968778695a4b3c2d1e0f9e8d7c6b5a49382","created_at":"2022-05-01T10:00:00Z","policy":"minio"}"#;
        let read: SelfDescribe = serde_json::from_str(name).unwrap();
        assert!(matches!(read.policy, Some(SelfPolicy::Name(name)) if name == "minio"));
    }
}
