//! The TCP connection below TLS.
//!
//! rustls asks for 4 KiB at a time, which is a system call each: what is read here is read in one go and handed out in
//! pieces. An idle connection holds no buffer.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use nix::sys::socket::{MsgFlags, sendmsg};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::proxy::relay::{scratch, socket};

/// A stream that reads ahead.
#[derive(Debug)]
pub(in crate::proxy) struct Wire {
    stream: TcpStream,
    ahead: Vec<u8>,
    /// How much of it was handed out.
    taken: usize,
}

impl Wire {
    pub(in crate::proxy) const fn new(stream: TcpStream) -> Self {
        Self { stream, ahead: Vec::new(), taken: 0 }
    }

    /// Has the connection reset when it is closed.
    pub(in crate::proxy) fn reset(&self) {
        // Fails only on a socket that is already gone, which the other end has noticed by then.
        let _ = self.stream.set_zero_linger();
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.taken < this.ahead.len() {
            let rest = &this.ahead[this.taken..];
            let length = rest.len().min(buffer.remaining());
            buffer.put_slice(&rest[..length]);
            this.taken += length;
            return Poll::Ready(Ok(()));
        }
        this.ahead.clear();
        this.taken = 0;
        scratch::with(|scratch| {
            let read = socket::poll_read(&this.stream, context, scratch);
            if read.is_pending() {
                this.ahead = Vec::new();
            }
            let read = &scratch[..ready!(read)?];
            let (now, later) = read.split_at(read.len().min(buffer.remaining()));
            buffer.put_slice(now);
            this.ahead.extend_from_slice(later);
            Poll::Ready(Ok(()))
        })
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        socket::poll_write(&self.stream, context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = pieces.iter().map(|piece| piece.len()).sum();
        socket::poll_write_with(&self.stream, context, length, |stream| {
            Ok(sendmsg::<()>(stream.as_raw_fd(), pieces, &[], MsgFlags::MSG_NOSIGNAL, None)?)
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match SockRef::from(&self.stream).shutdown(Shutdown::Write) {
            // Whoever has gone need not be told.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            told => told,
        })
    }
}
