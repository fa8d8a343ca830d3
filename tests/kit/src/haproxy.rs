use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::listening::Listening;
use crate::package::Package;

const PACKAGE: Package =
    Package { name: "haproxy", program: None, folder: "usr/sbin", with: &[], env: "HAPROXY_BIN" };

/// Its own socket, in its folder.
const SOCKET: &str = "socket";

/// A real HAProxy. It goes with its owner.
#[derive(Debug)]
pub struct Haproxy(Listening);

/// What HAProxy knows of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    /// Whether its health check succeeds.
    pub is_up: bool,
    /// Connections that it was given so far.
    pub connections: u64,
}

impl Haproxy {
    /// Starts HAProxy in front of some servers and waits until it listens: TCP, so that TLS passes
    /// through, each connection to the server that has the fewest, and a server that takes no
    /// connections left out.
    ///
    /// # Panics
    /// If it is not on this machine and cannot be fetched, or does not start.
    pub fn start(servers: &[SocketAddr]) -> Self {
        Self::with(|address| balancing(address, servers))
    }

    /// Starts HAProxy with the sections for an address, and waits until it listens there.
    ///
    /// # Panics
    /// If it is not on this machine and cannot be fetched, or does not start.
    pub fn with(sections: impl Fn(SocketAddr) -> String) -> Self {
        let program = PACKAGE.program();
        let command = |folder: &Path, address| {
            let config = folder.join("haproxy.cfg");
            let text = global(folder) + &sections(address);
            fs::write(&config, text).expect("it can be written");
            let mut command = program.command();
            command.arg("-db").arg("-f").arg(&config);
            command
        };
        // It answers on its own socket once it has bound its port.
        let has_bound = |folder: &Path| UnixStream::connect(folder.join(SOCKET)).is_ok();
        Self(Listening::start("HAProxy", command, has_bound))
    }

    /// Has HAProxy read a configuration, without starting it. An error is what it says.
    ///
    /// # Errors
    /// If there is a mistake, or anything to warn of.
    ///
    /// # Panics
    /// If it is not on this machine and cannot be fetched.
    pub fn check(configuration: &str) -> Result<(), String> {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let config = folder.path().join("haproxy.cfg");
        fs::write(&config, configuration).expect("it can be written");
        let mut command = PACKAGE.program().command();
        let output = command.arg("-c").arg("-f").arg(&config).output().expect("HAProxy runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let is_good = output.status.success() && !said.contains("WARNING");
        if is_good { Ok(()) } else { Err(said) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// The servers, in the order of [`Haproxy::start`].
    ///
    /// # Panics
    /// If HAProxy does not say.
    pub fn servers(&self) -> Vec<Behind> {
        let statistics = self.ask("show stat");
        let mut lines = statistics.lines();
        let names: Vec<&str> =
            lines.next().unwrap_or_default().trim_start_matches("# ").split(',').collect();
        let column = |name| names.iter().position(|other| *other == name).expect("it has a name");
        let (server, status, total) = (column("svname"), column("status"), column("stot"));
        lines
            .map(|line| line.split(',').collect::<Vec<_>>())
            .filter(|cells| cells.get(server).is_some_and(|name| name.starts_with("server-")))
            .map(|cells| Behind {
                is_up: cells[status].starts_with("UP"),
                connections: cells[total].parse().expect("a number of connections"),
            })
            .collect()
    }

    fn ask(&self, question: &str) -> String {
        let mut answer = String::new();
        UnixStream::connect(self.0.folder().join(SOCKET))
            .and_then(|mut socket| {
                writeln!(socket, "{question}")?;
                socket.read_to_string(&mut answer)
            })
            .unwrap_or_else(|error| panic!("HAProxy {}: {error}", self.0.id()));
        answer
    }
}

/// What a test needs of HAProxy itself.
fn global(folder: &Path) -> String {
    let socket = folder.join(SOCKET);
    let socket = socket.display();
    format!("global\n    nbthread 1\n    maxconn 2000\n    stats socket {socket} mode 600\n\n")
}

/// What an operator writes. A check connects and hangs up: a server that lives takes connections,
/// and what it cannot do without Vault no other could do either.
fn balancing(address: SocketAddr, servers: &[SocketAddr]) -> String {
    let mut text = format!(
        "\
defaults
    mode tcp
    timeout connect 2s
    timeout client 5m
    timeout server 5m
    retries 3
    option redispatch 1

frontend kes
    bind {address}
    default_backend kes

backend kes
    balance leastconn
    default-server check inter 500ms fall 2 rise 2 on-marked-down shutdown-sessions
"
    );
    for (number, server) in servers.iter().enumerate() {
        writeln!(text, "    server server-{number} {server}").expect("a text grows");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use super::*;
    use crate::listening::START_LIMIT;
    use crate::{Port, wait};

    #[test]
    fn connections_go_to_servers_that_are_there() {
        let servers = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let gone = Port::free();
        let addresses =
            [servers[0].local_addr().unwrap(), gone.address(), servers[1].local_addr().unwrap()];
        let haproxy = Haproxy::start(&addresses);
        wait::eventually(START_LIMIT, "the check has found out", || {
            let up: Vec<bool> = haproxy.servers().iter().map(|server| server.is_up).collect();
            up == [true, false, true]
        });
        let held: Vec<_> = (0..4).map(|_| TcpStream::connect(haproxy.address()).unwrap()).collect();
        wait::eventually(START_LIMIT, "each server has its part", || {
            let counts: Vec<u64> = haproxy.servers().iter().map(|one| one.connections).collect();
            // The one that waited for HAProxy to listen may have been served as well.
            counts[0] >= 2 && counts[1] == 0 && counts[2] >= 2
        });
        drop(held);
    }
}
