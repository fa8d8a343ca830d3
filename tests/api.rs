//! The HTTP API (contract `api.md`), a module a section.

mod answers;
mod bodies;
mod bulk;
mod identity;
mod names;
mod order;
mod paging;
mod streams;
mod transport;
