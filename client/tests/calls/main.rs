//! Calls of the client to servers that behave in every way, over TLS on this machine.

/// Which endpoint is asked, and when another one.
mod failover;

/// What comes of good, bad and endless answers.
mod answers;

/// Answers that come before the server has read the request.
mod early;

/// Who trusts whom.
mod trust;

/// A server with scripted answers.
mod stub;
