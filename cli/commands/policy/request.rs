//! What a request asks a server for, by its method and path alone.

use kes_api::Operation;
use kes_server::Routed;

/// A request that a server serves, if its policies allow it.
pub(super) struct Asked {
    pub(super) operation: Operation,
    /// Decoded.
    pub(super) path: String,
    pub(super) resource: String,
}

/// Why a server refuses a request, whoever makes it.
pub(super) struct Fault {
    pub(super) status: u16,
    pub(super) text: String,
}

impl Asked {
    /// Finds out what a path is for, as a server does.
    pub(super) fn of(path: &str) -> Result<Self, Fault> {
        let fault = |status, text: &str| Err(Fault { status, text: text.to_owned() });
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path, None),
        };
        match kes_server::route(path, query) {
            Routed::Found { operation, path, resource } => Ok(Self { operation, path, resource }),
            Routed::Redirect(clean) => Err(Fault {
                status: 307,
                text: format!("the server redirects this path to '{clean}'"),
            }),
            Routed::NotFound => fault(404, "no API has this path; 'kes status --api' lists them"),
            Routed::BadEscape => fault(400, "a '%' in the path begins no escape"),
        }
    }

    /// What is wrong with a method.
    pub(super) fn method_fault(&self, method: &str) -> Option<Fault> {
        let route = self.operation.route();
        let expected = route.method.as_str();
        (!route.accepts(method)).then(|| Fault {
            status: 405,
            text: format!("the method of this API is {expected}, not {method}"),
        })
    }

    /// What is wrong with the name or pattern.
    pub(super) fn name_fault(&self) -> Option<Fault> {
        let route = self.operation.route();
        let kind = if self.operation.lists() { "pattern" } else { "name" };
        (!route.is_valid_resource(&self.resource)).then(|| Fault {
            status: 400,
            text: format!("'{}' is no {kind} that the server accepts", self.resource),
        })
    }
}
