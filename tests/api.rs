//! The HTTP API (contract `api.md`), a module a section.

mod answers;
mod bodies;
mod identity;
mod names;
mod order;
