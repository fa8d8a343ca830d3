use crate::observe::logging::stream::Stream;
use crate::service::answer::Answer;
use crate::service::error::Error;

/// Sends the lines of a log from now on, until the client or the server ends the stream.
pub(super) fn follow(log: &Stream) -> Result<Answer, Error> {
    let lines = log.follow().ok_or(Error::TooManyStreams)?;
    Ok(Answer::lines(lines))
}
