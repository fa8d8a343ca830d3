//! The HTTP API (contract `api.md`), a module a section.

mod answers;
mod bodies;
mod bulk;
mod early;
mod identity;
mod limits;
mod metrics;
mod names;
mod order;
mod paging;
mod policies;
mod status;
mod streams;
mod transport;
