use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What a client sends first over HTTP/2: the preface, and SETTINGS that are empty.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A frame of HTTP/2 that the server sent.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) const DATA: u8 = 0x0;
    pub(crate) const HEADERS: u8 = 0x1;
    pub(crate) const RST_STREAM: u8 = 0x3;
    pub(crate) const SETTINGS: u8 = 0x4;
    pub(crate) const PING: u8 = 0x6;
    pub(crate) const GOAWAY: u8 = 0x7;
    pub(crate) const WINDOW_UPDATE: u8 = 0x8;
    /// The flag of the last DATA or HEADERS of a stream.
    pub(crate) const END_STREAM: u8 = 0x1;
    /// The flag of a HEADERS that is complete.
    pub(crate) const END_HEADERS: u8 = 0x4;

    /// Reads the next frame; an error where the connection has ended.
    pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Self> {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut payload).await?;
        let number = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Ok(Self { kind: head[3], flags: head[4], stream: number, payload })
    }
}

/// A frame to send (RFC 9113, 4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The head of a request whose body follows unless `flags` have END_STREAM. HPACK (RFC 7541) by
/// hand: the scheme from the static table, the rest as literals that are not indexed.
pub(crate) fn head(flags: u8, stream: u32, method: &str, path: &str, authority: &str) -> Vec<u8> {
    let mut block = vec![0x87];
    for (name, value) in [(0x02, method), (0x04, path), (0x01, authority)] {
        block.push(name);
        block.push(u8::try_from(value.len()).ok().filter(|length| *length < 127).unwrap());
        block.extend_from_slice(value.as_bytes());
    }
    frame(Frame::HEADERS, flags | Frame::END_HEADERS, stream, &block)
}
