use kes_api::Operation;

use super::router;

/// Where a path leads, as the server finds it.
#[derive(Debug)]
pub enum Routed {
    /// To an operation.
    Found {
        /// The operation.
        operation: Operation,
        /// The decoded path.
        path: String,
        /// The name or pattern in it.
        resource: String,
    },
    /// To its clean form.
    Redirect(String),
    /// Nowhere.
    NotFound,
    /// Nowhere, since it cannot be decoded.
    BadEscape,
}

/// Finds the route of a path in its encoded form, as a server does for a request.
pub fn route(path: &str, query: Option<&str>) -> Routed {
    match router::route(path, query) {
        router::Routed::Found(target) => Routed::Found {
            operation: target.route.operation,
            path: target.path.to_string(),
            resource: target.resource().to_owned(),
        },
        router::Routed::Redirect(location) => Routed::Redirect(location),
        router::Routed::NotFound => Routed::NotFound,
        router::Routed::BadEscape => Routed::BadEscape,
    }
}
