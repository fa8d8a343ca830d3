//! What the black-box tests stand on: the program as a process, clients that send what they are
//! told byte for byte, and certificates.
//!
//! `KES_SUBJECT` names another program to test instead of ours: one that takes
//! `server --config <file>` and prints the URL that it listens on.

mod client;
mod config;
mod exposition;
mod figure;
mod frames;
mod load;
mod memory;
mod openssl;
mod raw;
mod server;
mod slow;
mod successors;
mod vectors;
mod who;

pub(crate) use client::{Client, Protocol, Reply, tls_config, tls_connect, tls_over, was_not_sent};
pub(crate) use config::Config;
pub(crate) use exposition::{BY_CODE, Exposition, Kind, PROMETHEUS};
pub(crate) use figure::{figure, is_whole, percentile};
pub(crate) use frames::{Frame, PREFACE, frame, head};
pub(crate) use kes_testkit::openssl;
pub(crate) use load::{REQUESTS, ten_thousand_generates};
pub(crate) use memory::make_pipe;
pub(crate) use openssl::{Openssl, Tls};
pub(crate) use raw::Raw;
pub(crate) use server::{Refused, Server, program};
pub(crate) use slow::slow_generate;
pub(crate) use successors::Successors;
pub(crate) use vectors::{BASE64, Ciphertext, StoredKey, Vectors};
pub(crate) use who::{Credentials, Who};

/// Runs an asynchronous test on a runtime of its own.
pub(crate) fn run<F: Future>(test: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(test)
}
