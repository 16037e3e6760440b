//! Both directions of one stream of a tunnel, to be read and written like a socket.
//!
//! The stream's window opens only by what its reader took, and nothing is written that it has no room for.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use h2::{RecvStream, SendStream};
use hyper::body::Bytes;

use super::client::Lease;
use super::of_h2;

/// The most that one write takes: as much as a read brings.
const PIECE: usize = 64 << 10;

/// Both directions of one stream.
pub(in crate::proxy) struct Channel {
    pub(super) send: SendStream<Bytes>,
    pub(super) receive: RecvStream,
    /// What has been received and not yet been read.
    pub(super) early: Bytes,
    /// Its place in a tunnel that we dialled, given up with the channel.
    pub(super) _lease: Option<Lease>,
}

impl Channel {
    pub(super) const fn new(send: SendStream<Bytes>, receive: RecvStream) -> Self {
        Self { send, receive, early: Bytes::new(), _lease: None }
    }

    /// Waits for the first bytes, which stay to be read: empty at the end of the stream.
    pub(in crate::proxy) fn poll_peek(&mut self, context: &mut Context<'_>) -> Poll<io::Result<&Bytes>> {
        while self.early.is_empty() {
            match ready!(self.receive.poll_data(context)) {
                Some(Ok(bytes)) => self.early = bytes,
                Some(Err(error)) => return Poll::Ready(Err(of_h2(error))),
                None => break,
            }
        }
        Poll::Ready(Ok(&self.early))
    }

    /// Waits for more than the `known` bytes that are there; whether there are more.
    pub(in crate::proxy) fn poll_peek_more(
        &mut self,
        context: &mut Context<'_>,
        known: usize,
    ) -> Poll<io::Result<bool>> {
        while self.early.len() <= known {
            match ready!(self.receive.poll_data(context)) {
                Some(Ok(bytes)) if self.early.is_empty() => self.early = bytes,
                Some(Ok(bytes)) => self.early = [&self.early[..], &bytes[..]].concat().into(),
                Some(Err(error)) => return Poll::Ready(Err(of_h2(error))),
                None => return Poll::Ready(Ok(false)),
            }
        }
        Poll::Ready(Ok(true))
    }

    /// What has been received and not yet been read.
    pub(in crate::proxy) const fn peeked(&self) -> &Bytes {
        &self.early
    }

    /// Reads what has arrived; 0 is the end of the stream.
    pub(in crate::proxy) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_peek(context))?;
        let length = self.early.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.early.split_to(length));
        if length > 0 {
            self.receive.flow_control().release_capacity(length).map_err(of_h2)?;
        }
        Poll::Ready(Ok(length))
    }

    /// Writes as much of `pieces` as the stream has room for, as one frame if it can be.
    pub(in crate::proxy) fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wanted: usize = pieces.iter().map(|piece| piece.len()).sum();
        if wanted == 0 {
            return Poll::Ready(Ok(0));
        }
        self.send.reserve_capacity(wanted.min(PIECE));
        while self.send.capacity() == 0 {
            match ready!(self.send.poll_capacity(context)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(of_h2(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let mut room = self.send.capacity().min(wanted).min(PIECE);
        let mut bytes = Vec::with_capacity(room);
        for piece in pieces {
            let part = &piece[..piece.len().min(room)];
            bytes.extend_from_slice(part);
            room -= part.len();
        }
        let written = bytes.len();
        self.send.send_data(bytes.into(), false).map_err(of_h2)?;
        Poll::Ready(Ok(written))
    }

    /// Ends our direction in order, if the other end still listens. One that has all it wants may have reset the stream by then.
    pub(in crate::proxy) fn finish(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let Err(error) = self.send.send_data(Bytes::new(), true) else { return Ok(()) };
        match self.send.poll_reset(context) {
            Poll::Ready(Ok(_reason)) => Ok(()),
            Poll::Ready(Err(broken)) => Err(of_h2(broken)),
            Poll::Pending => Err(of_h2(error)),
        }
    }

    /// Resets both.
    pub(in crate::proxy) fn reset(&mut self) {
        self.send.send_reset(h2::Reason::CANCEL);
    }
}
