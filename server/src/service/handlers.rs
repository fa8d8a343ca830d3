//! The operations of the APIs. A handler parses the request, calls one operation, and answers.
//! [`crate::service`] does what is the same for all: admission, time limits, audit and metrics.

use kes_api::{KeyName, ListPattern, Operation};
use kes_policy::Permit;

use super::answer::Answer;
use super::body::{Arriving, RequestBody};
use super::context::RequestContext;
use super::error::{Error, NameKind};
use super::generation::Keys;
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
pub(super) struct Call<'a> {
    pub(super) context: &'a RequestContext<'a>,
    pub(super) permit: Permit<'a>,
    pub(super) body: &'a mut Arriving,
}

/// Runs the operation of a request, once the limits of its identity let it run.
pub(super) async fn run(call: Call<'_>) -> Result<Answer, Error> {
    let turn = call.context.enter(&call.permit).await?;
    let answer = match call.context.operation() {
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
        Operation::ErrorLog => log::follow(&call, &call.context.service.logs.error_stream),
        Operation::AuditLog => log::follow(&call, &call.context.service.logs.audit_stream),
        Operation::Refusals => Ok(log::refusals(&call)),
    };
    answer.map(|answer| answer.keeping(turn))
}

impl Call<'_> {
    fn keys(&self) -> &Keys {
        &self.context.generation.keys
    }

    fn key_name(&self) -> Result<KeyName, Error> {
        let name = self.context.target.resource();
        KeyName::parse(name).map_err(|_| Error::Name { kind: NameKind::Key, name: name.to_owned() })
    }

    fn pattern(&self) -> Result<ListPattern<'_>, Error> {
        let name = self.context.target.resource();
        ListPattern::parse(name)
            .map_err(|_| Error::Name { kind: NameKind::Pattern, name: name.to_owned() })
    }

    /// Reads the body, up to the route's limit, and parses it; a body that cannot be parsed is
    /// `invalid`. Work on a large body yields to other connections after each of the two steps.
    async fn parse<T, E>(
        &mut self,
        parse: impl FnOnce(&[u8]) -> Result<T, E>,
        invalid: Error,
    ) -> Result<T, Error> {
        let body = RequestBody::read(self.body, self.context).await?;
        let length = body.expose().len();
        fairness::yield_after(length).await;
        let parsed = parse(body.expose()).map_err(|_| invalid)?;
        // The memory of the body is free for the answer.
        drop(body);
        fairness::yield_after(length).await;
        Ok(parsed)
    }
}
