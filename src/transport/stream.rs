//! The octets of a connection, plain or under TLS. While it writes it also reads: a server that refuses amid the content
//! is heard, and long pipelined writes cannot block on unread replies (RFC 2920, 3.1).

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Unread octets that are taken in beside a write: enough for the replies to any group of commands.
const MOST_UNREAD: usize = 256 * 1024;
/// Pieces handed to one system call.
const MOST_PIECES: usize = 64;

#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Where a write stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written {
    All,
    /// The server said something meanwhile; the rest is still to be written.
    Heard,
}

impl Stream {
    /// Writes `pieces` off their front, and flushes. Stops when octets come in if `listening`; an end of what the server
    /// says is then an error, for it will not hear the rest either.
    pub(super) async fn write(
        &mut self,
        pieces: &mut VecDeque<Bytes>,
        unread: &mut BytesMut,
        listening: bool,
    ) -> io::Result<Written> {
        let mut ended = false;
        pieces.retain(|piece| !piece.is_empty());
        std::future::poll_fn(|cx| {
            while !ended && unread.len() < MOST_UNREAD {
                match self.poll_some(unread, cx) {
                    Poll::Pending => break,
                    Poll::Ready(Ok(0)) if listening => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                    Poll::Ready(Ok(0)) => ended = true,
                    Poll::Ready(Ok(_)) if listening => return Poll::Ready(Ok(Written::Heard)),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                }
            }
            while !pieces.is_empty() {
                let slices: Vec<_> = pieces.iter().take(MOST_PIECES).map(|piece| io::IoSlice::new(piece)).collect();
                let count = match Pin::new(&mut *self).poll_write_vectored(cx, &slices) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(count)) => count,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                };
                take(pieces, count);
            }
            Pin::new(&mut *self).poll_flush(cx).map_ok(|()| Written::All)
        })
        .await
    }

    /// Reads what there is; 0 at the end.
    pub(super) async fn read(&mut self, unread: &mut BytesMut) -> io::Result<usize> {
        unread.reserve(4096);
        self.read_buf(unread).await
    }

    /// Reads without waiting: `None` where nothing is there.
    pub(super) fn read_now(&mut self, unread: &mut BytesMut) -> Option<io::Result<usize>> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        match self.poll_some(unread, &mut cx) {
            Poll::Pending => None,
            Poll::Ready(result) => Some(result),
        }
    }

    fn poll_some(&mut self, unread: &mut BytesMut, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [0; 4096];
        let mut space = ReadBuf::new(&mut space);
        Pin::new(&mut *self).poll_read(cx, &mut space).map_ok(|()| {
            unread.extend_from_slice(space.filled());
            space.filled().len()
        })
    }
}

fn take(pieces: &mut VecDeque<Bytes>, mut count: usize) {
    while let Some(piece) = pieces.front_mut() {
        if piece.len() > count {
            piece.advance(count);
            return;
        }
        count -= piece.len();
        pieces.pop_front();
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, octets),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, octets),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, octets),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
