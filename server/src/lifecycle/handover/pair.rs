//! What goes between the two processes: frames, and listening sockets.
//!
//! ```text
//! frame = length of the payload (4 bytes, big endian) ‖ kind (1 byte) ‖ payload
//! ```

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use kes_keys::transfer;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;

/// The longest payload in bytes: that of a sealed message.
const MAX_PAYLOAD: usize = transfer::MAX_PLAINTEXT + transfer::OVERHEAD;

/// The most sockets that are passed on: those that a service manager may pass, and that of the
/// operations listener.
pub(super) const MAX_SOCKETS: usize = 65;

/// A payload with this kind is a message in JSON.
const MESSAGE: u8 = 0;

/// A payload with this kind is sealed.
const SEALED: u8 = 1;

/// What a frame holds.
pub(super) enum Frame {
    Message(Vec<u8>),
    Sealed(Vec<u8>),
}

impl Frame {
    /// Reads a message.
    pub(super) fn parse<T: DeserializeOwned>(&self) -> io::Result<T> {
        match self {
            Self::Message(text) => serde_json::from_slice(text).map_err(|_| invalid()),
            Self::Sealed(_) => Err(invalid()),
        }
    }
}

fn invalid() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it says something that is not understood")
}

/// Sends a message, and returns its text.
pub(super) async fn send(
    to: &mut (impl AsyncWrite + Unpin),
    message: &(impl Serialize + Sync),
) -> io::Result<Vec<u8>> {
    let text = serde_json::to_vec(message)?;
    send_frame(to, MESSAGE, &text).await?;
    Ok(text)
}

/// Sends what is sealed.
pub(super) async fn send_sealed(
    to: &mut (impl AsyncWrite + Unpin),
    sealed: &[u8],
) -> io::Result<()> {
    send_frame(to, SEALED, sealed).await
}

async fn send_frame(
    to: &mut (impl AsyncWrite + Unpin),
    kind: u8,
    payload: &[u8],
) -> io::Result<()> {
    let len = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= MAX_PAYLOAD);
    let head = [&len.ok_or_else(invalid)?.to_be_bytes()[..], &[kind]].concat();
    to.write_all(&[&head, payload].concat()).await
}

/// Receives a frame. Nothing beyond it is read.
pub(super) async fn receive(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Frame> {
    let len = usize::try_from(from.read_u32().await?).unwrap_or(usize::MAX);
    let kind = from.read_u8().await?;
    if len > MAX_PAYLOAD {
        return Err(invalid());
    }
    let mut payload = vec![0; len];
    from.read_exact(&mut payload).await?;
    match kind {
        MESSAGE => Ok(Frame::Message(payload)),
        SEALED => Ok(Frame::Sealed(payload)),
        _ => Err(invalid()),
    }
}

/// Sends open files, such as listening sockets, with one byte.
pub(super) async fn send_files(to: &UnixStream, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    to.async_io(Interest::WRITABLE, || {
        let mut space = [MaybeUninit::uninit(); SPACE];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !sockets.is_empty() && !control.push(SendAncillaryMessage::ScmRights(sockets)) {
            return Err(io::Error::other("there are too many sockets"));
        }
        sendmsg(to.as_fd(), &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    })
    .await
}

/// Receives open files.
pub(super) async fn receive_files(from: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    from.async_io(Interest::READABLE, || {
        let mut space = [MaybeUninit::uninit(); SPACE];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let into = &mut [IoSliceMut::new(&mut byte)];
        let received = recvmsg(from.as_fd(), into, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        if received.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut sockets = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                sockets.extend(files);
            }
        }
        Ok(sockets)
    })
    .await
}

/// Room for the numbers of all sockets.
const SPACE: usize = rustix::cmsg_space!(ScmRights(MAX_SOCKETS));

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn frames_are_received_as_they_were_sent() {
        let (mut one, mut other) = UnixStream::pair().unwrap();
        let text = send(&mut one, &["a", "b"]).await.unwrap();
        assert_eq!(text, br#"["a","b"]"#);
        let sealed = vec![7; MAX_PAYLOAD];
        let sending = tokio::spawn(async move {
            send_sealed(&mut one, &sealed).await.unwrap();
            assert!(send_sealed(&mut one, &vec![7; MAX_PAYLOAD + 1]).await.is_err());
        });
        let message: Vec<String> = receive(&mut other).await.unwrap().parse().unwrap();
        assert_eq!(message, ["a", "b"]);
        let frame = receive(&mut other).await.unwrap();
        assert!(frame.parse::<Vec<u8>>().is_err(), "it is no message");
        assert!(matches!(frame, Frame::Sealed(bytes) if bytes == vec![7; MAX_PAYLOAD]));
        sending.await.unwrap();
        let end = receive(&mut other).await.err().unwrap();
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn what_is_no_frame_is_refused_before_it_is_read() {
        for head in [&[0, 2, 0, 0, 0][..], &[255, 255, 255, 255, 1], &[0, 0, 0, 0, 2]] {
            let refused = receive(&mut &*head).await.err().unwrap();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidData, "{head:?}");
        }
        for cut in [&[][..], &[0, 0], &[0, 0, 0, 2, 0, b'{']] {
            let cut = receive(&mut &*cut).await.err().unwrap();
            assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
        }
        let no_json = receive(&mut &[0, 0, 0, 1, 0, b'{'][..]).await.unwrap();
        assert!(no_json.parse::<Vec<u8>>().is_err());
    }

    #[tokio::test]
    async fn sockets_go_over_between_frames() {
        let (mut one, mut other) = UnixStream::pair().unwrap();
        let sockets: Vec<_> =
            (0..MAX_SOCKETS).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let files: Vec<_> = sockets.iter().map(|socket| socket.as_fd()).collect();
        send(&mut one, &1).await.unwrap();
        send_files(&one, &files).await.unwrap();
        send(&mut one, &2).await.unwrap();
        assert_eq!(receive(&mut other).await.unwrap().parse::<u8>().unwrap(), 1);
        let received = receive_files(&other).await.unwrap();
        assert_eq!(receive(&mut other).await.unwrap().parse::<u8>().unwrap(), 2);
        assert_eq!(received.len(), MAX_SOCKETS);
        for (socket, received) in sockets.iter().zip(received) {
            let received = TcpListener::from(received);
            assert_eq!(received.local_addr().unwrap(), socket.local_addr().unwrap());
        }
        send_files(&one, &[]).await.unwrap();
        assert!(receive_files(&other).await.unwrap().is_empty());
        drop(one);
        assert!(receive_files(&other).await.is_err());
    }
}
