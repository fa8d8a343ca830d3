//! What the APIs answer. A handler parses, calls one operation, and answers; admission, time
//! limits, audit and metrics stand around it in [`crate::service`].

use std::sync::atomic::{AtomicBool, Ordering};

use kes_api::{KeyName, ListPattern, Operation};
use kes_policy::Permit;

use crate::lifecycle::state::{Shared, State};
use crate::service::answer::Answer;
use crate::service::body::{Arriving, RequestBody};
use crate::service::error::{Error, NameKind};
use crate::service::router::Target;
use crate::transport::fairness;

/// `/v1/identity/…`
mod identity;
/// `/v1/key/…`
mod key;
/// `/v1/log/…`
mod log;
/// Pages of names.
mod page;
/// `/v1/policy/…`
mod policy;
/// `/version`, `/v1/ready`, `/v1/status`, `/v1/metrics`, `/v1/api`
mod status;

/// An admitted request.
pub(crate) struct Call<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) state: &'a State,
    pub(crate) permit: Permit<'a>,
    pub(crate) target: &'a Target<'a>,
    pub(crate) head: &'a http::request::Parts,
    pub(crate) body: &'a mut Arriving,
    /// Whether the body is being read: who is to blame when the time is over.
    pub(crate) reading: &'a AtomicBool,
}

/// Runs the operation of a request.
pub(crate) async fn run(call: Call<'_>) -> Result<Answer, Error> {
    match call.target.route.operation {
        Operation::Version => Ok(status::version(&call)),
        Operation::Ready => status::ready(&call),
        Operation::Status => Ok(status::status(&call)),
        Operation::Metrics => Ok(status::metrics(&call)),
        Operation::ListApis => Ok(status::apis(&call)),
        Operation::CreateKey => key::create(call).await,
        Operation::ImportKey => key::import(call).await,
        Operation::DescribeKey => key::describe(call).await,
        Operation::DeleteKey => key::delete(call).await,
        Operation::ListKeys => key::list(call).await,
        Operation::GenerateKey => key::generate(call).await,
        Operation::EncryptKey => key::encrypt(call).await,
        Operation::DecryptKey => key::decrypt(call).await,
        Operation::BulkDecrypt => key::bulk_decrypt(call).await,
        Operation::Hmac => key::hmac(call).await,
        Operation::DescribePolicy => policy::describe(&call),
        Operation::ReadPolicy => policy::read(&call),
        Operation::ListPolicies => policy::list(&call).await,
        Operation::DescribeIdentity => identity::describe(&call),
        Operation::ListIdentities => identity::list(&call).await,
        Operation::SelfDescribe => identity::self_describe(&call),
        Operation::ErrorLog => log::follow(&call.shared.logs.error_stream),
        Operation::AuditLog => log::follow(&call.shared.logs.audit_stream),
    }
}

impl Call<'_> {
    fn key_name(&self) -> Result<KeyName, Error> {
        let name = self.target.resource();
        KeyName::parse(name).map_err(|_| Error::Name { kind: NameKind::Key, name: name.to_owned() })
    }

    fn pattern(&self) -> Result<ListPattern<'_>, Error> {
        let name = self.target.resource();
        ListPattern::parse(name)
            .map_err(|_| Error::Name { kind: NameKind::Pattern, name: name.to_owned() })
    }
}

/// Reads a body within the route's limits.
async fn read(
    target: &Target<'_>,
    body: &mut Arriving,
    reading: &AtomicBool,
) -> Result<RequestBody, Error> {
    reading.store(true, Ordering::Relaxed);
    let body = RequestBody::read(body, target.route.max_body).await;
    reading.store(false, Ordering::Relaxed);
    let body = body?;
    fairness::yield_after(body.expose().len()).await;
    Ok(body)
}
