use crate::answer::Answer;
use crate::error::Error;
use crate::logging::stream::Stream;

/// The lines of a log from now on, until the client or the server ends it.
pub(super) fn follow(log: &Stream) -> Result<Answer, Error> {
    let lines = log.follow().ok_or(Error::TooManyStreams)?;
    Ok(Answer::lines(lines))
}
