//! The messages of a stored key as another implementation defines them (contract
//! `crypto-and-storage.md`, A stored key). The fuzz targets use this file as well.

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct KeyVersion {
    #[prost(message, optional, tag = "1")]
    pub(crate) key: Option<Secret>,
    #[prost(message, optional, tag = "2")]
    pub(crate) hmac_key: Option<Secret>,
    #[prost(message, optional, tag = "3")]
    pub(crate) created_at: Option<Time>,
    #[prost(string, tag = "4")]
    pub(crate) created_by: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Secret {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) secret: Vec<u8>,
    #[prost(uint32, tag = "2")]
    pub(crate) kind: u32,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Time {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(crate) nanos: i32,
}
