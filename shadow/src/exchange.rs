use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use kes_api::{Operation, SecretBytes};
use kes_client::{Error, Passed, Relayed};
use serde::Serialize;

use crate::carriers::Carried;
use crate::sides::{Side, Sides};

/// A request that was received.
pub(crate) struct Exchange {
    /// `None` if its path has no route, or its method is not that of the route.
    pub(crate) operation: Option<Operation>,
    /// The name or the pattern in its path.
    pub(crate) resource: String,
    pub(crate) request: Passed,
    pub(crate) carried: Carried,
}

impl Exchange {
    /// What its operation is called in the report.
    pub(crate) fn name(&self) -> &'static str {
        self.operation.map_or(OTHER, Operation::name)
    }

    /// Sends it to a server.
    pub(crate) async fn ask(&self, side: Side) -> Result<Relayed, Error> {
        self.carried.relays.get(side).call(self.request.clone()).await
    }

    /// Sends it to both servers.
    pub(crate) async fn ask_both(&self) -> Sides<Result<Relayed, Error>> {
        let (old, new) = tokio::join!(self.ask(Side::Old), self.ask(Side::New));
        Sides { old, new }
    }

    /// Another request of the same client, about the same key.
    pub(crate) fn another(&self, operation: Operation, body: Bytes) -> Self {
        let route = operation.route();
        // A key of this name exists: it needs no escapes.
        let path = route.template(&self.resource, "");
        let mut headers = self.carried.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let request = Passed { method: method(operation), path, headers, body };
        Self {
            operation: Some(operation),
            resource: self.resource.clone(),
            request,
            carried: self.carried.clone(),
        }
    }
}

/// What has no route.
pub(crate) const OTHER: &str = "Other";

/// A request for the version of a server.
pub(crate) fn version() -> Passed {
    let path = Operation::Version.route().path.to_owned();
    Passed { method: Method::GET, path, headers: HeaderMap::new(), body: Bytes::new() }
}

/// A body of a request, which is wiped. Bodies of requests are JSON: they have text keys alone.
pub(crate) fn json(value: &impl Serialize) -> Bytes {
    let mut body = SecretBytes::with_capacity(1024);
    match serde_json::to_writer(&mut body, value) {
        Ok(()) => Bytes::from_owner(body),
        Err(_) => Bytes::new(),
    }
}

fn method(operation: Operation) -> Method {
    match operation.route().method {
        kes_api::Method::Get => Method::GET,
        kes_api::Method::Put => Method::PUT,
        kes_api::Method::Delete => Method::DELETE,
    }
}
