use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// An HTTP proxy that leads the names it was told to servers on this machine, and refuses all
/// others: no test reaches anything else through it.
#[derive(Debug)]
pub struct ConnectProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    ended: AtomicBool,
    /// `host:port`, and the server that stands for it.
    hosts: HashMap<String, SocketAddr>,
    asked: Mutex<Vec<Asked>>,
}

/// What the proxy was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// `CONNECT`, or the method of a request that it is to pass on.
    pub method: String,
    /// `host:port`
    pub host: String,
    /// The header `Proxy-Authorization`.
    pub authorization: Option<String>,
}

impl ConnectProxy {
    /// Starts a proxy on a port of its own.
    ///
    /// # Panics
    /// If there is no free port.
    pub fn start(hosts: &[(&str, SocketAddr)]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            ended: AtomicBool::new(false),
            hosts: hosts.iter().map(|(host, server)| ((*host).to_owned(), *server)).collect(),
            asked: Mutex::default(),
        });
        let worker = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if worker.ended.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(client) = client else { continue };
                let shared = Arc::clone(&worker);
                // An error is a client that went away.
                std::thread::spawn(move || serve(client, &shared));
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it was asked for so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for ConnectProxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(client: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut head = String::new();
    let mut authorization = None;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        match line.split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("proxy-authorization") => {
                authorization = Some(value.trim().to_owned());
            }
            _ => head.push_str(&line),
        }
    }
    let is_tunnel = method == "CONNECT";
    let (host, path) = match target.strip_prefix("http://") {
        Some(rest) => {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            (host, format!("/{path}"))
        }
        None => (target, String::new()),
    };
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let asked = Asked { method: method.to_owned(), host: host.clone(), authorization };
    shared.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked);

    let Some(server) = shared.hosts.get(&host) else {
        return (&client).write_all(b"HTTP/1.1 502 no such host\r\nContent-Length: 0\r\n\r\n");
    };
    let mut server = TcpStream::connect(server)?;
    if is_tunnel {
        (&client).write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    } else {
        // One request a connection.
        let head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n{head}\r\n");
        server.write_all(head.as_bytes())?;
    }
    let mut back = (server.try_clone()?, client);
    std::thread::spawn(move || pump(&mut back.0, &back.1));
    pump(&mut reader, &server);
    Ok(())
}

fn pump(from: &mut impl Read, mut to: &TcpStream) {
    let _ = io::copy(from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
