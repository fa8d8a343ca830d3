use std::sync::Arc;

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
