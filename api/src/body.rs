//! Request and response bodies, field for field (contract `api.md`, Bodies).

mod lenient;
mod request;
mod response;

pub use lenient::InvalidBody;
pub use request::{
    DecryptRequest, EncryptRequest, GenerateRequest, HmacRequest, ImportRequest, MAX_BULK,
    bulk_decrypt_from_json,
};
pub use response::{
    Api, DescribeIdentity, DescribeKey, DescribePolicy, ErrorBody, IdentityPage, Limits, Migration,
    MigrationKeys, MigrationStore, NamePage, PolicyPatterns, ReadPolicy, Refusals, RefusedRequest,
    Reload, SelfDescribe, SelfPolicy, Snapshot, Status, Version, ciphertext_json, generate_json,
    hmac_json, plaintext_json, plaintexts_json,
};
pub use response::{Ciphertext, DataKey, Hmac, Plaintext};
