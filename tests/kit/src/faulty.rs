use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;
use serde_json::{Value, json};

use crate::plain_http::{self, Answer};

mod gate;
mod port;
mod relay;

pub use gate::Gate;
pub use relay::{Mode, Relay};

/// How often a held connection looks whether its server has gone.
const TICK: Duration = Duration::from_millis(20);

/// A small HTTP/1.1 server that answers as a test tells it, and keeps what it was asked.
#[derive(Debug)]
pub struct Faulty {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    ended: AtomicBool,
    requests: Mutex<Vec<Request>>,
    connections: Mutex<usize>,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// When it had come.
    pub at: Instant,
}

/// How to answer.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A proper answer.
    Proper {
        /// The status.
        status: u16,
        /// More headers.
        headers: Vec<(String, String)>,
        /// The body.
        body: Vec<u8>,
    },
    /// These bytes, then the end of the connection.
    Raw(Vec<u8>),
    /// A proper head that promises more bytes than come.
    Truncated,
    /// A proper head with no length, then JSON text without end until the client has enough.
    Endless,
    /// No answer; the connection stays open.
    Hang,
    /// The connection is reset.
    Reset,
    /// What another server answers to the same request.
    Forward(SocketAddr),
    /// The other server is asked, and its answer is lost with the connection.
    ForwardAndReset(SocketAddr),
    /// The other server is asked, and the answer is this status instead.
    ForwardAndAnswer(SocketAddr, u16),
}

impl Request {
    /// The value of a header; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// The path without the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

impl Reply {
    /// JSON.
    #[expect(clippy::needless_pass_by_value, reason = "callers make the value in place")]
    pub fn json(status: u16, body: Value) -> Self {
        let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
        Self::Proper { status, headers, body: body.to_string().into_bytes() }
    }

    /// What Vault says of itself while it serves.
    pub fn healthy() -> Self {
        Self::json(200, json!({ "initialized": true, "sealed": false, "standby": false }))
    }

    /// What Vault answers to a login.
    pub fn login(token: &str, seconds: u64) -> Self {
        Self::json(200, Self::login_body(token, seconds))
    }

    /// The same as a value: a token that is valid for some seconds and can be renewed, or, for 0, one
    /// without an end.
    pub fn login_body(token: &str, seconds: u64) -> Value {
        json!({
            "request_id": "", "lease_id": "", "renewable": false, "lease_duration": 0,
            "data": null, "wrap_info": null, "warnings": null,
            "auth": {
                "client_token": token, "accessor": "", "policies": [], "token_policies": [],
                "metadata": null, "lease_duration": seconds, "renewable": seconds > 0,
                "entity_id": "", "token_type": "service", "orphan": true,
            },
        })
    }

    /// A redirect.
    pub fn redirect(status: u16, location: &str) -> Self {
        let headers = vec![("Location".to_owned(), location.to_owned())];
        Self::Proper { status, headers, body: Vec::new() }
    }
}

impl Faulty {
    /// Starts a server on a port of its own.
    ///
    /// # Panics
    /// If there is no free port.
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared::default());
        let answer = Arc::new(answer);
        let worker = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if worker.ended.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                *lock(&worker.connections) += 1;
                let (shared, answer) = (Arc::clone(&worker), Arc::clone(&answer));
                // An error is a client that went away.
                std::thread::spawn(move || serve(&stream, &shared, answer.as_ref()));
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.requests).clone()
    }

    /// How many connections it has had.
    pub fn connections(&self) -> usize {
        *lock(&self.shared.connections)
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(
    stream: &TcpStream,
    shared: &Shared,
    answer: &(impl Fn(&Request) -> Reply + Send + Sync),
) -> io::Result<()> {
    let _ = stream.set_nodelay(true);
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader)? {
        lock(&shared.requests).push(request.clone());
        let mut out = stream;
        match answer(&request) {
            Reply::Proper { status, headers, body } => {
                out.write_all(&proper(status, &headers, &body))?;
            }
            Reply::Raw(bytes) => {
                out.write_all(&bytes)?;
                return stream.shutdown(Shutdown::Both);
            }
            Reply::Truncated => {
                let head = b"HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n{\"data\": {\"k";
                out.write_all(head)?;
                return stream.shutdown(Shutdown::Both);
            }
            Reply::Endless => {
                out.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"data\": \"")?;
                let block = vec![b'a'; 1 << 20];
                loop {
                    out.write_all(&block)?;
                }
            }
            Reply::Hang => hold(stream, shared),
            Reply::Reset => return reset(stream),
            Reply::Forward(server) => {
                let answer = forward(&request, server)?;
                out.write_all(&proper(answer.status, &[], &answer.bytes))?;
            }
            Reply::ForwardAndReset(server) => {
                forward(&request, server)?;
                return reset(stream);
            }
            Reply::ForwardAndAnswer(server, status) => {
                forward(&request, server)?;
                out.write_all(&proper(status, &[], b"{}"))?;
            }
        }
    }
    Ok(())
}

fn forward(request: &Request, server: SocketAddr) -> io::Result<Answer> {
    let headers: Vec<_> = request
        .headers
        .iter()
        .filter(|(name, _)| name.starts_with("x-vault-"))
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    plain_http::request(server, &request.method, &request.target, &headers, &request.body)
}

/// Leaves the client without an answer until it or the server goes.
fn hold(mut stream: &TcpStream, shared: &Shared) {
    let _ = stream.set_read_timeout(Some(TICK));
    let mut byte = [0];
    while !shared.ended.load(Ordering::Relaxed) {
        match stream.read(&mut byte) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// Closes a connection with RST instead of FIN.
fn reset(stream: &TcpStream) -> io::Result<()> {
    set_socket_linger(stream, Some(Duration::ZERO))?;
    Ok(())
}

fn proper(status: u16, headers: &[(String, String)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} Status\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}

/// Reads one request; `None` at the end of the connection.
fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ').map(str::to_owned);
    let method = words.next().unwrap_or_default();
    let target = words.next().unwrap_or_default();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers
        .iter()
        .find(|(name, _)| name == "content-length")
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Request { method, target, headers, body, at: Instant::now() }))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
