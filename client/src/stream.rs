//! A stream of log lines, each a JSON object, until the server ends it.

use http::Response;
use hyper::body::Incoming;

use crate::body::chunk;
use crate::endpoints::Endpoint;
use crate::error::Error;

/// The lines of `/v1/log/audit` or `/v1/log/error`.
pub struct LogStream {
    endpoint: Endpoint,
    body: Incoming,
    /// Received bytes that are not a complete line yet.
    buffer: Vec<u8>,
    /// How many bytes of the buffer were searched for the end of a line.
    searched: usize,
}

/// The longest line, in bytes. A line describes one request, whose path has at most a few
/// kilobytes.
const MAX_LINE_LEN: usize = 1024 * 1024;

impl LogStream {
    pub(crate) fn new(endpoint: Endpoint, response: Response<Incoming>) -> Self {
        Self { endpoint, body: response.into_body(), buffer: Vec::new(), searched: 0 }
    }

    /// The next line, without its end; `None` when the server has closed the stream. Empty lines
    /// are skipped. The form of a line is [`kes_api::event::AuditEvent`] or
    /// [`kes_api::event::ErrorEvent`].
    ///
    /// # Errors
    /// [`Error::Connect`] if the connection breaks, [`Error::Protocol`] if a line does not end.
    pub async fn next_line(&mut self) -> Result<Option<String>, Error> {
        loop {
            while let Some(line) = self.buffered_line() {
                if !line.is_empty() {
                    return Ok(Some(line));
                }
            }
            if self.buffer.len() > MAX_LINE_LEN {
                return Err(Error::protocol(&self.endpoint, "a line of the log is too long"));
            }
            match chunk(&mut self.body).await {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk),
                Ok(None) => return Ok(self.rest()),
                Err(error) => return Err(Error::transport(&self.endpoint, &error)),
            }
        }
    }

    fn buffered_line(&mut self) -> Option<String> {
        let end = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n');
        let Some(end) = end.map(|end| self.searched + end) else {
            self.searched = self.buffer.len();
            return None;
        };
        let line = text(&self.buffer[..end]);
        self.buffer.drain(..=end);
        self.searched = 0;
        Some(line)
    }

    /// The bytes after the last line, when the stream has ended.
    fn rest(&mut self) -> Option<String> {
        let line = text(&std::mem::take(&mut self.buffer));
        self.searched = 0;
        if line.is_empty() { None } else { Some(line) }
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim().to_owned()
}
