//! The HTTP client of stores that live elsewhere. It knows nothing of any protocol: a store says
//! what each request carries (`Exchange`) and what a refusal means (`Refusal`).
//!
//! It keeps connections and reuses them, bounds the time of each exchange and the size of each
//! answer, wipes what it has buffered, repeats only what is safe to repeat, follows redirects only
//! to endpoints of the configuration, and shows no secret in a text.

/// Bodies of requests and answers.
mod body;

/// Why a request got no answer.
mod cause;

/// Requests to the endpoints of one store.
mod client;

/// A request, and what the protocol of a store adds to it.
mod exchange;

/// What can go wrong with a request.
mod fault;

/// Connections.
mod pool;

/// Texts of others, made fit for a log.
mod redact;

/// The requests of one change that may still be carried out.
mod sends;

/// Where the bodies of answers go.
mod sink;

/// TLS: what is wrong with a handshake, and servers with another name.
pub(crate) mod tls;

pub(crate) use body::{BadBody, Field, from_json, text_at, to_json, wiped_bytes};
pub(crate) use client::{ANSWER_LIMIT, Client};
pub(crate) use exchange::{Exchange, Request};
pub(crate) use fault::{Fault, Refusal};
pub(crate) use redact::known_words;
pub(crate) use sends::Sends;
pub(crate) use sink::{Answer, BodySink};
