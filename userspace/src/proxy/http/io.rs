//! What HTTP is spoken over, whichever it is: a socket, a stream of a tunnel, or anything else that reads and writes.
//!
//! Unless it was shut down in order, closing it resets it, so that a message that was cut short is never taken for a whole
//! one. The client's side looks at every head before the parser does ([`super::heads`]).

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};
use nix::sys::socket::{MsgFlags, sendmsg};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::awaited::Awaited;
use super::heads::Heads;
use super::watch::Watch;
use crate::proxy::leg::Leg;
use crate::proxy::relay::{scratch, socket};
use crate::proxy::tunnel::channel::Channel;

/// A stream that reads and writes for itself, such as TLS that we speak with the workload.
pub(in crate::proxy) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// One end of a connection.
pub(in crate::proxy) enum Carrier {
    /// A socket.
    Socket(Leg),
    /// A stream of a tunnel.
    Tunnel(Box<Channel>),
    /// Something else. Closing it is its own affair.
    Other(Box<dyn Stream>),
}

/// How long a client is listened to behind the last answer, and for how many bytes.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1 << 20;

/// What no parser takes for a part of a head or of a chunk, and which ends a head: parsers do not look before its end.
const REFUSED: &[u8] = b"\0\r\n\r\n";

/// What a client is told whose head did not come to its end in time (RFC 9110, section 15.5.9).
const TOO_LATE: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// One end of a connection as hyper uses it.
pub(in crate::proxy) struct Io {
    /// Absent only while it is dropped.
    carrier: Option<Carrier>,
    /// What was read from it before it came here.
    early: Bytes,
    /// What looks at the client's heads.
    heads: Option<Heads>,
    watch: Option<Arc<Watch>>,
    /// What is told that something came from the upstream.
    awaited: Option<Arc<Awaited>>,
    /// Bytes that came from the upstream.
    heard: Option<Arc<AtomicU64>>,
    /// Whether the parser was shown that what the client sent is refused.
    refused: bool,
    /// Whether the other side was told that nothing more comes.
    shut_down: bool,
    closing: Closing,
    /// Whether reading or writing has failed.
    broke: bool,
}

/// What comes between our end and the close.
enum Closing {
    /// Nothing.
    AtOnce,
    /// What the client still sends is taken for a while: closed with bytes in its queue, a socket is reset, and with it the
    /// answer that the client has not read (RFC 9112, section 9.6). With until when, and how much was taken, once it began.
    Lingering(Option<(Pin<Box<Sleep>>, usize)>),
}

impl Io {
    /// The upstream's end: `awaited` is told what comes from it, and `heard` counts it.
    pub(super) const fn upstream(carrier: Carrier, awaited: Arc<Awaited>, heard: Arc<AtomicU64>) -> Self {
        Self {
            carrier: Some(carrier),
            early: Bytes::new(),
            heads: None,
            watch: None,
            awaited: Some(awaited),
            heard: Some(heard),
            refused: false,
            shut_down: false,
            closing: Closing::AtOnce,
            broke: false,
        }
    }

    /// The client's end, of which `early` was read before; `heads` are looked at if it speaks HTTP/1.
    pub(in crate::proxy) fn client(
        carrier: Carrier,
        early: Bytes,
        heads: Option<Heads>,
        watch: Arc<Watch>,
    ) -> Self {
        Self {
            carrier: Some(carrier),
            early,
            heads,
            watch: Some(watch),
            awaited: None,
            heard: None,
            refused: false,
            shut_down: false,
            closing: Closing::Lingering(None),
            broke: false,
        }
    }

    /// Lets everything pass from now on: what is spoken is HTTP no more, and either direction ends for itself.
    pub(super) fn upgraded(&mut self) {
        self.awaited = None;
        self.heads = None;
        self.closing = Closing::AtOnce;
    }

    /// Whether it was this end that failed.
    pub(super) const fn broke(&self) -> bool {
        self.broke
    }

    /// Ready when no request is being answered that came whole.
    fn poll_answered(&self, context: &Context<'_>) -> Poll<()> {
        match (&self.heads, &self.watch) {
            (Some(heads), Some(watch)) if heads.between() => watch.poll_idle(context),
            _ => Poll::Ready(()),
        }
    }

    /// Ready when nothing more is to be taken from the client.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Closing::Lingering(begun) = &mut self.closing else { return Poll::Ready(()) };
        let (mut patience, mut taken) = begun.take().unwrap_or_else(|| (Box::pin(sleep(LINGER)), 0));
        let over = scratch::with(|scratch| {
            while taken < LINGER_BYTES {
                match self.poll_read_plain(context, scratch) {
                    Poll::Ready(Ok(read)) if read > 0 => taken += read,
                    Poll::Ready(_) => return true,
                    Poll::Pending => return patience.as_mut().poll(context).is_ready(),
                }
            }
            true
        });
        if over {
            return Poll::Ready(());
        }
        self.closing = Closing::Lingering(Some((patience, taken)));
        Poll::Pending
    }

    /// Tells the client that its head took too long, and ends.
    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.refused, true) {
            // Nothing waits to be written before it: if there is no room for it, nobody reads.
            let _told = self.poll_write_pieces(context, &[IoSlice::new(TOO_LATE)])?;
        }
        Pin::new(self).poll_shutdown(context)
    }

    fn poll_read_plain(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if !self.early.is_empty() {
            let length = self.early.len().min(buffer.len());
            buffer[..length].copy_from_slice(&self.early.split_to(length));
            return Poll::Ready(Ok(length));
        }
        match &mut self.carrier {
            Some(Carrier::Socket(leg)) => socket::poll_read(leg, context, buffer),
            Some(Carrier::Tunnel(channel)) => channel.poll_read(context, buffer),
            Some(Carrier::Other(stream)) => {
                let mut read = ReadBuf::new(buffer);
                ready!(Pin::new(stream).poll_read(context, &mut read))?;
                Poll::Ready(Ok(read.filled().len()))
            }
            None => Poll::Ready(Ok(0)),
        }
    }

    fn poll_write_pieces(
        &mut self,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.carrier {
            Some(Carrier::Socket(leg)) => match pieces {
                [piece] => socket::poll_write(leg, context, piece),
                _ => {
                    let length = pieces.iter().map(|piece| piece.len()).sum();
                    socket::poll_write_with(leg, context, length, |stream| {
                        Ok(sendmsg::<()>(stream.as_raw_fd(), pieces, &[], MsgFlags::MSG_NOSIGNAL, None)?)
                    })
                }
            },
            Some(Carrier::Tunnel(channel)) => channel.poll_write(context, pieces),
            Some(Carrier::Other(stream)) => Pin::new(stream).poll_write_vectored(context, pieces),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.watch.as_ref().is_some_and(|watch| watch.is_late()) {
            return this.poll_late(context);
        }
        if this.heads.as_ref().is_some_and(Heads::violated) {
            // Something that the parser refuses, once: it answers what was asked before, and this with 400.
            if !std::mem::replace(&mut this.refused, true) {
                buffer.put_slice(&REFUSED[..REFUSED.len().min(buffer.remaining())]);
            }
            return Poll::Ready(Ok(()));
        }
        scratch::with(|scratch| {
            let room = buffer.remaining().min(scratch.len());
            let read = ready!(this.poll_read_plain(context, &mut scratch[..room]));
            this.broke |= read.is_err();
            let read = read?;
            if read == 0 {
                // A client that has said all that it has to say still waits for its answer.
                ready!(this.poll_answered(context));
            }
            if read > 0
                && let Some(awaited) = &this.awaited
            {
                awaited.came()?;
            }
            let mut bytes = &scratch[..read];
            if let Some(watch) = &this.watch {
                watch.came(read);
            }
            if let Some(heard) = &this.heard {
                heard.fetch_add(read as u64, Ordering::Relaxed);
            }
            if let Some(heads) = &mut this.heads {
                match heads.inspect(bytes) {
                    Ok(()) => {}
                    Err((good, violation)) => {
                        if let Some(watch) = &this.watch {
                            watch.violated(violation);
                        }
                        bytes = &bytes[..good];
                        if bytes.is_empty() {
                            this.refused = true;
                            bytes = &REFUSED[..REFUSED.len().min(room)];
                        }
                    }
                }
                if let Some(watch) = &this.watch {
                    watch.heads(heads.begun(), heads.within());
                }
            }
            buffer.put_slice(bytes);
            Poll::Ready(Ok(()))
        })
    }
}

impl Write for Io {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(self.poll_write_pieces(context, pieces));
        self.broke |= written.is_err();
        let written = written?;
        if let Some(watch) = &self.watch {
            watch.went(written);
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.carrier {
            Some(Carrier::Other(stream)) => stream.is_write_vectored(),
            _ => true,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.carrier {
            Some(Carrier::Other(stream)) => Pin::new(stream).poll_flush(context),
            _ => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.shut_down {
            match &mut this.carrier {
                Some(Carrier::Socket(leg)) => match SockRef::from(&**leg).shutdown(Shutdown::Write) {
                    // Whoever has gone need not be told.
                    Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
                    told => told?,
                },
                Some(Carrier::Tunnel(channel)) => channel.finish(context)?,
                Some(Carrier::Other(stream)) => ready!(Pin::new(stream).poll_shutdown(context))?,
                None => {}
            }
            this.shut_down = true;
        }
        this.poll_linger(context).map(Ok)
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        match self.carrier.take() {
            Some(Carrier::Socket(leg)) if self.shut_down => leg.end(),
            Some(Carrier::Tunnel(mut channel)) if !self.shut_down => channel.reset(),
            _ => {}
        }
    }
}
