//! Reads and writes of a shared stream that cost one system call each.
//!
//! tokio's own `AsyncRead` does the same but wants the stream for itself, while a relay reads, writes and watches
//! each stream from two flows. The rule is that of tokio's `PollEvented`: under edge-triggered epoll a read that
//! leaves room in the buffer, or a write that leaves bytes, shows that the socket is not ready any more, so that
//! its readiness is cleared without asking the kernel again (epoll(7), question 9).

use std::io;
use std::os::fd::AsRawFd;
use std::task::{Context, Poll, ready};

use nix::sys::socket::{MsgFlags, recv, send};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Reads what is there into `buffer`; 0 is the end of the stream.
pub(in crate::proxy) fn poll_read(
    stream: &TcpStream,
    context: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_read_ready(context))?;
        if let Some(outcome) = once(stream, Interest::READABLE, buffer.len(), |stream| {
            Ok(recv(stream.as_raw_fd(), buffer, MsgFlags::empty())?)
        }) {
            return Poll::Ready(outcome);
        }
    }
}

/// Writes as much of `bytes` as the socket takes.
pub(in crate::proxy) fn poll_write(
    stream: &TcpStream,
    context: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    poll_write_with(stream, context, bytes.len(), |stream| {
        Ok(send(stream.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL)?)
    })
}

/// Has `write` write as much of `length` bytes as the socket takes, in one system call.
pub(in crate::proxy) fn poll_write_with(
    stream: &TcpStream,
    context: &mut Context<'_>,
    length: usize,
    mut write: impl FnMut(&TcpStream) -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_write_ready(context))?;
        if let Some(outcome) = once(stream, Interest::WRITABLE, length, &mut write) {
            return Poll::Ready(outcome);
        }
    }
}

/// Does `operation` on a ready stream; `None` if it was not ready after all, which is forgotten then.
fn once(
    stream: &TcpStream,
    interest: Interest,
    wanted: usize,
    operation: impl FnOnce(&TcpStream) -> io::Result<usize>,
) -> Option<io::Result<usize>> {
    let mut partial = None;
    let outcome = stream.try_io(interest, || match operation(stream) {
        // "Would block" is how try_io is told to clear the readiness.
        Ok(done) if 0 < done && done < wanted => {
            partial = Some(done);
            Err(io::ErrorKind::WouldBlock.into())
        }
        outcome => outcome,
    });
    match (partial, outcome) {
        (Some(done), _) => Some(Ok(done)),
        (None, Err(error)) if error.kind() == io::ErrorKind::WouldBlock => None,
        (None, outcome) => Some(outcome),
    }
}
