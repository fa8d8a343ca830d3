use std::sync::Arc;

use super::Call;
use crate::observe::logging::stream::{Place, Stream};
use crate::service::answer::Answer;
use crate::service::error::Error;
use crate::transport::Class;

/// Sends the lines of a log from now on, until the client or the server ends the stream.
pub(super) fn follow(call: &Call<'_>, log: &Stream) -> Result<Answer, Error> {
    let reader = Arc::clone(call.context.peer);
    let place = match call.context.generation.class(call.context.peer) {
        Class::Stranger => Place::Stranger,
        Class::Known => Place::Known,
        Class::Admin => Place::Admin,
    };
    let lines = log.follow(reader, place).ok_or(Error::TooManyStreams)?;
    // The permit may be one of a configuration that was replaced before the stream was there to be
    // decided anew.
    call.context.service.readmit_followers_if_replaced(&call.context.generation);
    Ok(Answer::lines(lines))
}
