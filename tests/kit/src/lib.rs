//! Parts that tests of several crates share. Nothing here knows anything of ours: it starts and
//! breaks what stands around a server.
//!
//! Everything panics with a sentence when it cannot do its work: a test that cannot have its
//! surroundings has failed. Nothing is skipped. All calls block, also those that wait for a
//! server, and may be made from a test with or without a runtime.

/// The program `age`, and a second implementation of its format.
pub mod age;

/// A real OpenBao, as a process of its own.
pub mod bao;

/// A real browser.
pub mod browser;

/// Certificates: of a private CA, and self-signed.
pub mod certs;

/// A proxy that makes tunnels.
pub mod connect;

/// A server that breaks the rules in ways that a real one does not, and a relay that breaks
/// connections to a real one.
pub mod faulty;

/// A real load balancer.
pub mod haproxy;

/// The one question that Vault asks of Kubernetes.
pub mod kubernetes;

/// The real Helm, and the published schemas of manifests.
pub mod manifests;

/// A real web server, as a proxy.
pub mod nginx;

/// A real Prometheus, and its tool.
pub mod monitoring;

/// A real terminal, whose screen can be read.
pub mod tmux;

/// The published definitions of OpenTelemetry's protocol.
pub mod otlp;

/// A TPM made of software, and systemd's program that seals credentials with it.
pub mod tpm;

/// Waiting for a condition, never for luck.
pub mod wait;

mod fetch;
mod listening;
mod openssl;
mod package;
mod plain_http;
mod ports;
mod process;

pub use bao::{Bao, Cluster, Space};
pub use browser::{Browser, Tab};
pub use certs::{Authority, SelfSigned};
pub use connect::ConnectProxy;
pub use haproxy::Haproxy;
pub use monitoring::{Prometheus, promtool};
pub use nginx::Nginx;
pub use openssl::{Openssl, openssl};
pub use plain_http::Answer;
pub use ports::Port;
pub use process::{Process, install};
pub use tmux::Tmux;
pub use tpm::Tpm;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_server_keeps_its_data_through_a_kill() {
        let mut bao = Bao::start();
        bao.root().enable_kv("kv", 1);
        bao.root().write("kv/a", &json!({ "x": "1" }));
        bao.restart();
        assert_eq!(bao.root().read("kv/a"), Some(json!({ "x": "1" })));
        bao.seal();
        assert_eq!(bao.root().request("GET", "kv/a", None).status, 503);
        bao.unseal();
        assert_eq!(bao.root().list("kv"), ["a"]);
    }

    #[test]
    fn a_server_goes_with_its_owner() {
        let bao = Bao::start();
        let process = format!("/proc/{}", bao.process_id());
        assert!(std::path::Path::new(&process).exists());
        drop(bao);
        assert!(!std::path::Path::new(&process).exists());
    }
}
