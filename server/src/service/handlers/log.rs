use std::sync::Arc;

use kes_api::Operation;
use kes_api::body::{Refusals, RefusedRequest};

use super::Call;
use crate::observe::logging::stream::{Place, Stream};
use crate::service::answer::Answer;
use crate::service::error::Error;
use crate::transport::Class;

/// Sends the lines of a log from now on, until the client or the server ends the stream.
pub(super) fn follow(call: &Call<'_>, log: &Stream) -> Result<Answer, Error> {
    let reader = Arc::clone(call.context.peer);
    let class = call.context.class();
    let place = match class {
        Class::Stranger => Place::Stranger,
        Class::Known => Place::Known,
        Class::Admin => Place::Admin,
    };
    let Some(lines) = log.follow(reader, place) else {
        call.context.service.metrics.classes.log_followers_refused.of(class.index()).inc();
        return Err(Error::TooManyStreams);
    };
    // The permit may be one of a configuration that was replaced before the stream was there to be
    // decided anew, and so may be the trust in the client.
    call.context.service.readmit_new_follower(&call.context.generation, call.context.peer);
    Ok(Answer::lines(lines))
}

/// What the policies have refused of late, and refuse still: of strangers, and under the policies that
/// the caller may read.
pub(super) fn refusals(call: &Call<'_>) -> Answer {
    let policies = &call.context.generation.policies;
    let identity = call.permit.identity();
    let may_read = |policy: &str| {
        let path = format!("{}{policy}", Operation::ReadPolicy.route().path);
        policies.permit(identity.as_ref(), Operation::ReadPolicy, &path).is_ok()
    };
    let (denied, forgotten) = call.context.service.denials.under(policies);
    let told = denied.into_iter().filter(|one| one.policy.as_deref().is_none_or(may_read));
    let refusals = told.map(|one| RefusedRequest {
        identity: one.identity,
        policy: one.policy,
        method: one.operation.route().method.as_str().to_owned(),
        path: one.path,
        denied_by: one.denied_by,
        count: one.count,
        first: one.first,
        last: one.last,
    });
    let since = call.context.service.started_at;
    Answer::json(&Refusals { since, forgotten, refusals: refusals.collect() })
}
