use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use kes_testkit::{Haproxy, Nginx};
use rustls::ClientConfig;
use tempfile::TempDir;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::client::TlsStream;

use crate::docs;
use crate::harness::{Client, Config, Credentials, Protocol, Server, Who, tls_config, tls_over};

/// What the configuration of a server says of a proxy: it connects as [`Who::Other`].
pub(super) const TLS: &str =
    "{ key: server.key, cert: server.crt, proxy: { identities: [\"${OTHER}\"] } }";

/// Whom the proxies see as the address of their clients. All of 127.0.0.0/8 is this machine.
pub(super) const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Which proxy.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Haproxy,
    Nginx,
}

pub(super) const KINDS: [Kind; 2] = [Kind::Haproxy, Kind::Nginx];

/// A server behind a proxy.
pub(super) struct Site {
    pub(super) server: Server,
    /// The proxy's own certificate, for its clients.
    front: Credentials,
    proxy: Proxy,
    _folder: TempDir,
}

enum Proxy {
    Haproxy(Haproxy),
    Nginx(Nginx),
}

impl Site {
    pub(super) fn new(kind: Kind, config: &Config) -> Self {
        Self::prepared(kind, config, |_| {})
    }

    /// The same after something was put into the folder of the server.
    pub(super) fn prepared(kind: Kind, config: &Config, prepare: impl FnOnce(&Path)) -> Self {
        let server = Server::prepared(config, prepare);
        let front = Credentials::new(&["127.0.0.1", "localhost"]);
        let folder = tempfile::tempdir().unwrap();
        for (name, Credentials { certificate_pem, key_pem, .. }) in
            [("server", &front), ("proxy", server.credentials(Who::Other).unwrap())]
        {
            let write = |end: &str, text: &str| {
                fs::write(folder.path().join(format!("{name}.{end}")), text).unwrap();
            };
            write("crt", certificate_pem);
            write("key", key_pem);
            write("pem", &format!("{certificate_pem}{key_pem}"));
        }
        fs::write(folder.path().join("kes.crt"), &server.tls.certificate_pem).unwrap();
        let proxy = match kind {
            Kind::Haproxy => Proxy::Haproxy(Haproxy::with(|address| {
                configuration("haproxy", "bind :7373 ", &format!("bind {address} "), &server)
                    .replace("/etc/haproxy", folder.path().to_str().unwrap())
            })),
            Kind::Nginx => Proxy::Nginx(Nginx::with(|address| {
                configuration("nginx", "listen 7373 ", &format!("listen {address} "), &server)
                    .replace("/etc/nginx", folder.path().to_str().unwrap())
            })),
        };
        Self { server, front, proxy, _folder: folder }
    }

    fn address(&self) -> SocketAddr {
        match &self.proxy {
            Proxy::Haproxy(haproxy) => haproxy.address(),
            Proxy::Nginx(nginx) => nginx.address(),
        }
    }

    /// What a client of the proxy begins TLS with.
    pub(super) fn tls(&self, who: Option<&Credentials>, protocol: Protocol) -> ClientConfig {
        tls_config(&self.front.certificate, who, protocol)
    }

    /// Connects to the proxy from [`CLIENT`].
    pub(super) async fn connect(&self, config: ClientConfig) -> TlsStream<TcpStream> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((CLIENT, 0).into()).unwrap();
        tls_over(socket.connect(self.address()).await.unwrap(), config).await.unwrap()
    }

    /// A client of the proxy.
    pub(super) async fn client(&self, who: Option<&Credentials>, protocol: Protocol) -> Client {
        let tls = self.connect(self.tls(who, protocol)).await;
        Client::over(tls, protocol, &self.address().to_string()).await.unwrap()
    }
}

/// That of the documentation, with other addresses and names.
fn configuration(language: &str, listens: &str, with: &str, server: &Server) -> String {
    let mut text = docs::tls_proxy(language);
    for (documented, here) in [
        (listens, with),
        ("10.0.0.1:7373", &server.address),
        ("10.0.0.2:7373", &server.address),
        ("kes.example.com", "localhost"),
    ] {
        assert!(text.contains(documented), "'{documented}' stands in the documentation");
        text = text.replace(documented, here);
    }
    text
}
