use std::borrow::Cow;
use std::net::IpAddr;

use kes_api::{Identity, Timestamp};
use serde::Deserialize;

type Text<'a> = Option<Cow<'a, str>>;

/// A line as it is read back. Which fields it has depends on its kind; `docs/audit.md` describes them.
#[derive(Debug, Deserialize)]
#[expect(missing_docs, reason = "the documentation of operators describes each field")]
pub struct Entry<'a> {
    pub seq: u64,
    pub time: Timestamp,
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
    pub request: Option<u64>,
    #[serde(borrow)]
    pub operation: Text<'a>,
    #[serde(borrow)]
    pub method: Text<'a>,
    #[serde(borrow)]
    pub path: Text<'a>,
    pub identity: Option<Identity>,
    #[serde(borrow)]
    pub policy: Text<'a>,
    #[serde(default)]
    pub admin: bool,
    pub address: Option<IpAddr>,
    #[serde(borrow)]
    pub key: Text<'a>,
    #[serde(borrow)]
    pub name: Text<'a>,
    pub status: Option<u16>,
    pub duration_us: Option<u64>,
    #[serde(borrow)]
    pub message: Text<'a>,
    #[serde(borrow)]
    pub reason: Text<'a>,
    #[serde(borrow)]
    pub bucket: Text<'a>,
    #[serde(borrow)]
    pub object: Text<'a>,
    #[serde(borrow)]
    pub bucket_hash: Text<'a>,
    #[serde(borrow)]
    pub object_hash: Text<'a>,
    #[serde(borrow)]
    pub context: Text<'a>,
    #[serde(borrow, default)]
    pub objects: Vec<Object<'a>>,
    pub objects_left_out: Option<u64>,
    // Of a gap, a repair, a start and a removal.
    pub records: Option<u64>,
    pub changes: Option<u64>,
    pub bytes: Option<u64>,
    #[serde(borrow)]
    pub sha256: Text<'a>,
    #[serde(borrow)]
    pub file: Text<'a>,
    #[serde(borrow)]
    pub warning: Text<'a>,
}

/// One object of a request that is about several.
#[derive(Clone, Debug, Default, Deserialize)]
#[expect(missing_docs, reason = "the documentation of operators describes each field")]
pub struct Object<'a> {
    #[serde(borrow)]
    pub bucket: Text<'a>,
    #[serde(borrow)]
    pub object: Text<'a>,
    #[serde(borrow)]
    pub bucket_hash: Text<'a>,
    #[serde(borrow)]
    pub object_hash: Text<'a>,
    #[serde(borrow)]
    pub context: Text<'a>,
}

impl<'a> Entry<'a> {
    /// All objects that it is about.
    pub fn objects(&self) -> impl Iterator<Item = Object<'a>> + '_ {
        let own = Object {
            bucket: self.bucket.clone(),
            object: self.object.clone(),
            bucket_hash: self.bucket_hash.clone(),
            object_hash: self.object_hash.clone(),
            context: self.context.clone(),
        };
        let is_own = own.bucket.is_some() || own.bucket_hash.is_some() || own.context.is_some();
        is_own.then_some(own).into_iter().chain(self.objects.iter().cloned())
    }

    /// Whether the line is about a request or a change of a key.
    pub fn is_record(&self) -> bool {
        matches!(&*self.kind, "request" | "announced" | "change")
    }
}
