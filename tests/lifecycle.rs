//! Start, reload and stop (contract `config.md`, While it runs).

use std::time::Duration;

use crate::harness::{Client, Protocol, Server, Who};

/// Where it listens.
mod address;

/// Certificate files that change under a running server.
mod certificates;

/// SIGHUP.
mod reload;

/// What a reload is told to have changed.
mod changes;

/// How the last reload ended.
mod last_reload;

/// Connections and streams after a change of what they were admitted under.
mod trust;

/// The server's certificate comes to its end.
mod expiry;

/// Files whose reading hangs.
mod hanging;

/// What the system grants and asks: locked memory, connections, signals.
mod system;

/// What the service manager is told.
mod notified;

/// Sockets that the service manager has opened.
mod passed;

/// Time and memory of a server that starts and stands.
mod footprint;

/// What keeps a server from starting.
mod start;

/// SIGUSR2.
mod handover;

/// One hand-over after the other.
mod successive;

/// SIGUSR2 where nothing is handed over, and SIGHUP beside it.
mod no_handover;

/// SIGTERM and SIGINT.
mod stop;

/// For what has to happen: no matter of time, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// Waits for the server's end, with status 0.
fn assert_ends(server: &mut Server) {
    assert_eq!(server.wait_for_exit(PATIENCE).code(), Some(0), "{}", server.stderr());
    assert!(!server.stderr().contains("panicked"), "{}", server.stderr());
}

/// A key `k`, and a client that may use it.
async fn with_key(server: &Server, protocol: Protocol) -> Client {
    let mut admin = server.client(Who::Admin, protocol).await;
    assert_eq!(admin.send("PUT", "/v1/key/create/k", "").await.status, 200);
    admin
}
