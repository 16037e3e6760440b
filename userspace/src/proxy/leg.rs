//! One of the two sockets of a connection. Unless it is told that all ended well, closing it resets it.
//!
//! So every way out that nobody thought of (an error, an aborted task, a panic, a runtime that shuts down) is seen
//! by the other end as a reset, never as an orderly end of a stream that was cut short.

use std::io;
use std::ops::Deref;
use std::os::fd::AsFd;

use tokio::net::TcpStream;
use tokio::runtime::Handle;

/// How a leg is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    /// With RST; unsent bytes are thrown away.
    Reset,
    /// With FIN, or nothing if that was sent before.
    Orderly,
}

/// A stream that is reset on drop unless [`Leg::end`] took it.
#[derive(Debug)]
pub(super) struct Leg {
    stream: TcpStream,
    closing: Closing,
}

impl Leg {
    /// A leg that is reset until it is ended.
    pub(super) const fn new(stream: TcpStream) -> Self {
        Self { stream, closing: Closing::Reset }
    }

    /// The same connection, watched by another runtime.
    ///
    /// # Errors
    /// There is no descriptor left, or the runtime cannot watch it. The connection is reset.
    pub(super) fn moved_to(self, runtime: &Handle) -> io::Result<Self> {
        let same = std::net::TcpStream::from(self.stream.as_fd().try_clone_to_owned()?);
        // Closing one of two descriptors says nothing to the other end.
        self.end();
        let _within = runtime.enter();
        TcpStream::from_std(same).map(Self::new)
    }

    /// Closes in order: both directions have carried their end.
    pub(super) fn end(mut self) {
        self.closing = Closing::Orderly;
    }
}

impl Deref for Leg {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.stream
    }
}

impl Drop for Leg {
    fn drop(&mut self) {
        if self.closing == Closing::Reset {
            // Fails only on a socket that is already gone, which the other end has noticed by then.
            let _ = self.stream.set_zero_linger();
        }
    }
}
