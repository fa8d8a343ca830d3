use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::client::{tls_config, tls_connect};
use super::{Protocol, Server, Who};

/// How long an answer may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// An HTTP/1.1 connection that is spoken to byte by byte.
pub(crate) struct Raw(TlsStream<TcpStream>);

impl Raw {
    /// Connects as somebody.
    pub(crate) async fn connect(server: &Server, who: Who) -> Self {
        Self::connect_at(&server.address, server, who).await
    }

    /// Connects to an address where something has the certificate of a server.
    pub(crate) async fn connect_at(address: &str, server: &Server, who: Who) -> Self {
        let config = tls_config(&server.tls.certificate, server.credentials(who), Protocol::H1);
        Self(tls_connect(address, config).await.unwrap())
    }

    /// Connects with the smallest receive buffer that the system grants, so that a client that
    /// does not read soon blocks who writes to it.
    pub(crate) async fn connect_narrow(server: &Server, who: Who) -> Self {
        let config = tls_config(&server.tls.certificate, server.credentials(who), Protocol::H1);
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(1).unwrap();
        let socket = socket.connect(server.address.parse().unwrap()).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        Self(TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap())
    }

    /// Sends bytes.
    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// Reads the head of an answer and what came with it.
    pub(crate) async fn head(&mut self) -> String {
        let mut text = Vec::new();
        while !text.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
            let mut piece = [0; 4096];
            let read = tokio::time::timeout(PATIENCE, self.0.read(&mut piece));
            let count = read.await.expect("the server answers in time").unwrap();
            assert!(count > 0, "the connection ended: {}", String::from_utf8_lossy(&text));
            text.extend_from_slice(&piece[..count]);
        }
        String::from_utf8(text).unwrap()
    }

    /// The status of the next answer.
    pub(crate) async fn status(&mut self) -> u16 {
        let head = self.head().await;
        head.split(' ').nth(1).unwrap().parse().unwrap()
    }
}
