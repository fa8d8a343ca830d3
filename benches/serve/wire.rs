//! HTTP/2 over TLS with next to nothing in between: what a client of the load costs must be small
//! beside what a server does, or the client is what is measured. No runtime, no task, no copy of
//! a request: frames are put together by hand, and nothing here ever waits.
//!
//! It sends what Go's client sends (which MinIO is): heads that repeat are a byte a field.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

/// What is asked for.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) body: Rc<[u8]>,
    /// Whether the path will come again: then it is a byte from the second time on.
    pub(crate) repeats: bool,
}

impl Request {
    /// For a path that does not come again.
    pub(crate) fn get(path: String) -> Self {
        Self { method: "GET", path, body: Rc::from([]), repeats: false }
    }
}

/// Requests at once on one connection: less than any server allows.
const MAX_OPEN: usize = 200;

/// What one frame carries, and a peer takes unasked (RFC 9113, 4.2).
const FRAME: usize = 16_384;

/// What the server may send unasked: all that the protocol can say.
const WINDOW: u32 = (1 << 31) - 1;

/// What both sides may send before they say more (RFC 9113, 6.9.2).
const FIRST_WINDOW: u32 = 65_535;

/// Types of frames, and flags (RFC 9113, 6).
mod frame {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PING: u8 = 6;
    pub(super) const GOAWAY: u8 = 7;
    pub(super) const WINDOW_UPDATE: u8 = 8;

    pub(super) const ACK: u8 = 1;
    pub(super) const END_STREAM: u8 = 1;
    pub(super) const END_HEADERS: u8 = 4;

    pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;
}

/// A connection, and what is on its way.
pub(crate) struct Connection {
    tls: ClientConnection,
    socket: TcpStream,
    heads: Heads,
    /// Frames that TLS does not have yet.
    output: Vec<u8>,
    /// The beginning of a frame whose end has not come.
    input: Vec<u8>,
    /// Requests that wait for their turn, each with its mark.
    waiting: VecDeque<(Request, u64)>,
    /// The request whose body is being sent.
    upload: Option<Upload>,
    /// Marks of the requests that were sent, from the oldest that is not answered.
    open: VecDeque<Option<u64>>,
    /// The stream of the first of them.
    first: u32,
    unanswered: usize,
    windows: Windows,
}

struct Upload {
    stream: u32,
    body: Rc<[u8]>,
    sent: usize,
    window: i64,
}

/// How much may be sent.
struct Windows {
    /// To the server, on all streams.
    connection: i64,
    /// To the server, on a new stream.
    stream: i64,
    /// From the server since it was last told that it may go on.
    received: u32,
}

impl Connection {
    /// Connects, and waits until TLS stands.
    pub(crate) fn open(address: &str, config: &Arc<ClientConfig>) -> Self {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut tls = ClientConnection::new(Arc::clone(config), name).unwrap();
        while tls.is_handshaking() {
            tls.complete_io(&mut socket).unwrap();
        }
        assert_eq!(tls.alpn_protocol(), Some(&b"h2"[..]));
        socket.set_nonblocking(true).unwrap();

        let mut output = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let mut settings = frame::INITIAL_WINDOW_SIZE.to_be_bytes().to_vec();
        settings.extend(WINDOW.to_be_bytes());
        push(&mut output, frame::SETTINGS, 0, 0, &settings);
        let more = (WINDOW - FIRST_WINDOW).to_be_bytes();
        push(&mut output, frame::WINDOW_UPDATE, 0, 0, &more);
        Self {
            tls,
            socket,
            heads: Heads { authority: address.to_owned(), table: VecDeque::new() },
            output,
            input: Vec::new(),
            waiting: VecDeque::new(),
            upload: None,
            open: VecDeque::new(),
            first: 1,
            unanswered: 0,
            windows: Windows {
                connection: FIRST_WINDOW.into(),
                stream: FIRST_WINDOW.into(),
                received: 0,
            },
        }
    }

    /// Requests that have no answer yet.
    pub(crate) fn pending(&self) -> usize {
        self.waiting.len() + self.unanswered
    }

    /// Queues a request. `mark` comes back with its answer.
    pub(crate) fn submit(&mut self, request: Request, mark: u64) {
        self.waiting.push_back((request, mark));
    }

    /// Sends a little of what there is to send. Whether anything was done.
    pub(crate) fn send(&mut self) -> bool {
        while self.upload.is_none() && self.unanswered < MAX_OPEN {
            let Some((request, mark)) = self.waiting.pop_front() else { break };
            self.begin(&request, mark);
        }
        if self.tls.wants_write() {
            // What the socket did not take before goes first.
        } else if self.output.is_empty() && self.upload.is_none() {
            return false;
        } else {
            self.upload_some();
            if self.output.is_empty() {
                return false;
            }
            self.tls.writer().write_all(&self.output).unwrap();
            self.output.clear();
        }
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("the server does not read: {error}"),
            }
        }
        true
    }

    /// Reads a little of what there is to read, and hands over the marks of answers that are
    /// whole. Whether there was any.
    pub(crate) fn receive(&mut self, mut answered: impl FnMut(u64)) -> bool {
        match self.tls.read_tls(&mut self.socket) {
            Ok(0) => panic!("the server closed the connection"),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => panic!("the server does not answer: {error}"),
        }
        let state = self.tls.process_new_packets().unwrap();
        let start = self.input.len();
        self.input.resize(start + state.plaintext_bytes_to_read(), 0);
        self.tls.reader().read_exact(&mut self.input[start..]).unwrap();

        let input = std::mem::take(&mut self.input);
        let mut rest = &input[..];
        while let Some((head, after)) = rest.split_first_chunk::<9>() {
            let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let Some((payload, after)) = after.split_at_checked(len) else { break };
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            self.frame(head[3], head[4], stream, payload, &mut answered);
            rest = after;
        }
        self.input = rest.to_vec();
        true
    }

    /// Sends the head of a request, and of its body what goes along.
    fn begin(&mut self, request: &Request, mark: u64) {
        let stream = self.first + 2 * u32::try_from(self.open.len()).unwrap();
        self.open.push_back(Some(mark));
        self.unanswered += 1;
        let block = self.heads.block(request);
        let end = if request.body.is_empty() { frame::END_STREAM } else { 0 };
        push(&mut self.output, frame::HEADERS, frame::END_HEADERS | end, stream, &block);
        if !request.body.is_empty() {
            let body = Rc::clone(&request.body);
            self.upload = Some(Upload { stream, body, sent: 0, window: self.windows.stream });
            self.upload_some();
        }
    }

    /// One frame of the body, as far as the server takes it.
    fn upload_some(&mut self) {
        let Some(upload) = &mut self.upload else { return };
        let rest = &upload.body[upload.sent..];
        let allowed = upload.window.min(self.windows.connection).max(0);
        let len = rest.len().min(FRAME).min(usize::try_from(allowed).unwrap());
        if len == 0 {
            return;
        }
        let is_last = len == rest.len();
        let flags = if is_last { frame::END_STREAM } else { 0 };
        push(&mut self.output, frame::DATA, flags, upload.stream, &rest[..len]);
        let taken = i64::try_from(len).unwrap();
        upload.sent += len;
        upload.window -= taken;
        self.windows.connection -= taken;
        if is_last {
            self.upload = None;
        }
    }

    fn frame(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
        answered: &mut impl FnMut(u64),
    ) {
        match kind {
            frame::HEADERS | frame::DATA => {
                if kind == frame::HEADERS {
                    // `:status: 200` is one byte (RFC 7541, A).
                    assert_eq!(payload.first(), Some(&0x88), "a request was refused");
                } else {
                    self.received(u32::try_from(payload.len()).unwrap());
                }
                if flags & frame::END_STREAM != 0 {
                    answered(self.end(stream));
                }
            }
            frame::SETTINGS if flags & frame::ACK == 0 => {
                for setting in payload.chunks_exact(6) {
                    let value = u32::from_be_bytes(setting[2..].try_into().unwrap());
                    if setting[..2] == frame::INITIAL_WINDOW_SIZE.to_be_bytes() {
                        let more = i64::from(value) - self.windows.stream;
                        self.windows.stream += more;
                        if let Some(upload) = &mut self.upload {
                            upload.window += more;
                        }
                    }
                }
                push(&mut self.output, frame::SETTINGS, frame::ACK, 0, &[]);
            }
            frame::PING if flags & frame::ACK == 0 => {
                push(&mut self.output, frame::PING, frame::ACK, 0, payload);
            }
            frame::WINDOW_UPDATE => {
                let more = i64::from(u32::from_be_bytes(payload.try_into().unwrap()));
                match &mut self.upload {
                    _ if stream == 0 => self.windows.connection += more,
                    Some(upload) if upload.stream == stream => upload.window += more,
                    _ => {}
                }
            }
            frame::RST_STREAM | frame::GOAWAY => panic!("the server ends it: {payload:?}"),
            _ => {}
        }
    }

    fn received(&mut self, len: u32) {
        self.windows.received += len;
        if self.windows.received > WINDOW / 2 {
            let more = self.windows.received.to_be_bytes();
            push(&mut self.output, frame::WINDOW_UPDATE, 0, 0, &more);
            self.windows.received = 0;
        }
    }

    fn end(&mut self, stream: u32) -> u64 {
        let index = usize::try_from((stream - self.first) / 2).unwrap();
        let mark = self.open[index].take().unwrap();
        self.unanswered -= 1;
        while let Some(None) = self.open.front() {
            self.open.pop_front();
            self.first += 2;
        }
        mark
    }
}

fn push(output: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    output.extend_from_slice(&[len[1], len[2], len[3], kind, flags]);
    output.extend_from_slice(&stream.to_be_bytes());
    output.extend_from_slice(payload);
}

/// Heads of requests (RFC 7541), with what the server remembers of those before.
struct Heads {
    authority: String,
    /// Names by their index in the static table, and values; the newest first.
    table: VecDeque<(u8, String)>,
}

impl Heads {
    fn block(&mut self, request: &Request) -> Vec<u8> {
        // In the static table: 1 `:authority`, 2 `:method`, 4 `:path`, 7 `:scheme: https`,
        // 28 `content-length`.
        let mut block = vec![0x87];
        self.field(&mut block, 2, request.method);
        let authority = std::mem::take(&mut self.authority);
        self.field(&mut block, 1, &authority);
        self.authority = authority;
        if request.repeats {
            self.field(&mut block, 4, &request.path);
        } else {
            block.push(4);
            text(&mut block, &request.path);
        }
        if !request.body.is_empty() {
            self.field(&mut block, 28, &request.body.len().to_string());
        }
        block
    }

    fn field(&mut self, block: &mut Vec<u8>, name: u8, value: &str) {
        const DYNAMIC: usize = 62;
        if let Some(place) = self.table.iter().position(|(n, v)| *n == name && v == value) {
            block.push(0x80 | u8::try_from(DYNAMIC + place).unwrap());
        } else {
            block.push(0x40 | name);
            text(block, value);
            self.table.push_front((name, value.to_owned()));
        }
    }
}

/// A text as it is, its length before it.
fn text(block: &mut Vec<u8>, value: &str) {
    match u8::try_from(value.len()) {
        Ok(len) if len < 127 => block.push(len),
        _ => panic!("a path this long is not needed"),
    }
    block.extend_from_slice(value.as_bytes());
}
