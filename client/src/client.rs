//! A method for each API (contract `api.md`, Routes).

use bytes::Bytes;
use kes_api::Operation;
use kes_api::body::{
    Api, Ciphertext, DataKey, DecryptRequest, DescribeIdentity, DescribeKey, DescribePolicy,
    EncryptRequest, GenerateRequest, Hmac, HmacRequest, IdentityPage, ImportRequest, NamePage,
    Plaintext, ReadPolicy, Refusals, SelfDescribe, Status, Version,
};
use rustls::ClientConfig;
use serde::de::DeserializeOwned;

use crate::body::{json, parse};
use crate::endpoints::Endpoints;
use crate::error::Error;
use crate::stream::LogStream;
use crate::transport::Transport;

/// A client of one deployment. All calls share its connections. A call that fails on one endpoint
/// is sent to the next one, if it is safe to send it twice.
#[derive(Debug)]
pub struct Client {
    transport: Transport,
}

/// The most pages of one listing. A page has a thousand names or more. The limit keeps a server
/// that sends pages without end from filling the memory.
const MAX_PAGES: usize = 100_000;

impl Client {
    /// Makes a client with a TLS configuration, such as one of [`crate::tls::config`].
    ///
    /// It does not use the environment's proxies and does not follow redirects: key material goes
    /// only to the given endpoints.
    pub fn new(endpoints: Endpoints, tls: ClientConfig) -> Self {
        Self { transport: Transport::new(endpoints, tls) }
    }

    /// The servers.
    pub fn endpoints(&self) -> &Endpoints {
        self.transport.endpoints()
    }

    /// The server's version; needs no identity.
    ///
    /// # Errors
    /// [`Error`] as of any call: [`Error::Status`] if the server refuses or fails,
    /// [`Error::Connect`], [`Error::Tls`] and [`Error::Timeout`] if no server is reached, and
    /// [`Error::Protocol`] if the answer cannot be read.
    pub async fn version(&self) -> Result<Version, Error> {
        self.get(Operation::Version, "").await
    }

    /// Whether the server and its key store are ready.
    ///
    /// # Errors
    /// As [`Client::version`]; [`Error::Status`] if it is not.
    pub async fn ready(&self) -> Result<(), Error> {
        self.transport.call(Operation::Ready, "", None).await.map(|_| ())
    }

    /// The state of the server.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub async fn status(&self) -> Result<Status, Error> {
        self.get(Operation::Status, "").await
    }

    /// All metrics, in the text format 0.0.4 of Prometheus. The request names this format in
    /// `Accept`, because without it a server sends only the metrics with one series each.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub async fn metrics(&self) -> Result<String, Error> {
        let (endpoint, body) = self.transport.call(Operation::Metrics, "", None).await?;
        String::from_utf8(body.into_inner())
            .map_err(|_| Error::protocol(endpoint, "the metrics are not text"))
    }

    /// The APIs that the server has.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub async fn apis(&self) -> Result<Vec<Api>, Error> {
        self.get(Operation::ListApis, "").await
    }

    /// Creates a key.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub async fn create_key(&self, name: &str) -> Result<(), Error> {
        self.transport.call(Operation::CreateKey, name, None).await.map(|_| ())
    }

    /// Imports a key.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub async fn import_key(&self, name: &str, request: &ImportRequest) -> Result<(), Error> {
        self.transport.call(Operation::ImportKey, name, Some(json(request))).await.map(|_| ())
    }

    /// Describes a key.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub async fn describe_key(&self, name: &str) -> Result<DescribeKey, Error> {
        self.get(Operation::DescribeKey, name).await
    }

    /// Deletes a key. What is encrypted with it is lost.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub async fn delete_key(&self, name: &str) -> Result<(), Error> {
        self.transport.call(Operation::DeleteKey, name, None).await.map(|_| ())
    }

    /// The names of all keys that match a pattern (contract `api.md`, Names), page by page.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub async fn list_keys(&self, pattern: &str) -> Result<Vec<String>, Error> {
        self.list(Operation::ListKeys, pattern, name_page).await
    }

    /// One page of the names of keys; its `continue_at` is the pattern of the next.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub async fn list_keys_page(&self, pattern: &str) -> Result<NamePage, Error> {
        self.get(Operation::ListKeys, pattern).await
    }

    /// Generates a data key: 32 random bytes, as plaintext and encrypted.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub async fn generate(&self, name: &str, request: &GenerateRequest) -> Result<DataKey, Error> {
        self.put(Operation::GenerateKey, name, json(request)).await
    }

    /// Encrypts a plaintext.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub async fn encrypt(&self, name: &str, request: &EncryptRequest) -> Result<Ciphertext, Error> {
        self.put(Operation::EncryptKey, name, json(request)).await
    }

    /// Decrypts a ciphertext.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub async fn decrypt(&self, name: &str, request: &DecryptRequest) -> Result<Plaintext, Error> {
        self.put(Operation::DecryptKey, name, json(request)).await
    }

    /// Decrypts up to [`kes_api::body::MAX_BULK`] ciphertexts, all or none.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub async fn bulk_decrypt(
        &self,
        name: &str,
        requests: &[DecryptRequest],
    ) -> Result<Vec<Plaintext>, Error> {
        self.put(Operation::BulkDecrypt, name, json(requests)).await
    }

    /// Computes the HMAC-SHA256 of a message.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub async fn hmac(&self, name: &str, request: &HmacRequest) -> Result<Hmac, Error> {
        self.put(Operation::Hmac, name, json(request)).await
    }

    /// Describes a policy.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub async fn describe_policy(&self, name: &str) -> Result<DescribePolicy, Error> {
        self.get(Operation::DescribePolicy, name).await
    }

    /// The patterns of a policy.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub async fn read_policy(&self, name: &str) -> Result<ReadPolicy, Error> {
        self.get(Operation::ReadPolicy, name).await
    }

    /// The names of all policies that match a pattern.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub async fn list_policies(&self, pattern: &str) -> Result<Vec<String>, Error> {
        self.list(Operation::ListPolicies, pattern, name_page).await
    }

    /// Describes an identity.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub async fn describe_identity(&self, identity: &str) -> Result<DescribeIdentity, Error> {
        self.get(Operation::DescribeIdentity, identity).await
    }

    /// Describes the caller.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub async fn self_describe(&self) -> Result<SelfDescribe, Error> {
        self.get(Operation::SelfDescribe, "").await
    }

    /// All identities that match a pattern.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub async fn list_identities(&self, pattern: &str) -> Result<Vec<String>, Error> {
        self.list(Operation::ListIdentities, pattern, identity_page).await
    }

    /// Follows the audit log.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub async fn audit_log(&self) -> Result<LogStream, Error> {
        self.transport.follow(Operation::AuditLog).await
    }

    /// Follows the error log.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub async fn error_log(&self) -> Result<LogStream, Error> {
        self.transport.follow(Operation::ErrorLog).await
    }

    /// What the policies of the server have refused of late.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub async fn refusals(&self) -> Result<Refusals, Error> {
        self.get(Operation::Refusals, "").await
    }

    async fn get<T: DeserializeOwned>(&self, operation: Operation, name: &str) -> Result<T, Error> {
        let (endpoint, body) = self.transport.call(operation, name, None).await?;
        parse(endpoint, body.expose())
    }

    async fn put<T: DeserializeOwned>(
        &self,
        operation: Operation,
        name: &str,
        body: Bytes,
    ) -> Result<T, Error> {
        let (endpoint, body) = self.transport.call(operation, name, Some(body)).await?;
        parse(endpoint, body.expose())
    }

    /// All pages of a listing.
    async fn list<P: DeserializeOwned>(
        &self,
        operation: Operation,
        pattern: &str,
        split: impl Fn(P) -> (Vec<String>, String),
    ) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        let mut pattern = pattern.to_owned();
        for _ in 0..MAX_PAGES {
            let (endpoint, body) = self.transport.call(operation, &pattern, None).await?;
            let (page, continue_at) = split(parse(endpoint, body.expose())?);
            names.extend(page);
            if continue_at.is_empty() {
                return Ok(names);
            }
            if continue_at == pattern {
                return Err(Error::protocol(
                    endpoint,
                    "a page of the listing names itself as the next one",
                ));
            }
            pattern = continue_at;
        }
        let reason = format!("a listing has more than {MAX_PAGES} pages");
        Err(Error::Protocol { endpoint: "the server".to_owned(), reason })
    }
}

fn name_page(page: NamePage) -> (Vec<String>, String) {
    (page.names, page.continue_at.unwrap_or_default())
}

fn identity_page(page: IdentityPage) -> (Vec<String>, String) {
    (page.identities, page.continue_at)
}
