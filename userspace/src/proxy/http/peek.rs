//! A look at what has arrived on a connection, which stays to be read by whoever serves it.

use std::io;
use std::os::fd::AsRawFd;
use std::task::{Context, Poll, ready};

use nix::sys::socket::{MsgFlags, recv};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::detect::{self, Leaning, Seen, WINDOW};
use super::dialling::Far;
use crate::proxy::leg::Leg;
use crate::proxy::relay::scratch;
use crate::proxy::tunnel::channel::Channel;

/// The client's end.
pub(in crate::proxy) enum Near {
    /// A socket.
    Socket(Leg),
    /// A stream of a tunnel that somebody else has dialled.
    Stream(Box<Channel>),
}

/// What a client has said so far.
#[derive(Debug, Default)]
pub(super) struct Peeker {
    known: usize,
    leaning: Leaning,
    /// When something had come that was not enough.
    since: Option<Instant>,
}

/// What a client turned out to speak.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Spoken {
    /// Never undecided.
    pub(super) seen: Seen,
    pub(super) server_name: Option<Box<str>>,
}

impl Spoken {
    /// What these bytes say; `None` if more of them are needed.
    fn of(bytes: &[u8]) -> Option<Self> {
        match detect::look(bytes) {
            Seen::Undecided => None,
            Seen::Tls if !is_whole_record(bytes) => None,
            Seen::Tls => Some(Self { seen: Seen::Tls, server_name: detect::server_name(bytes) }),
            seen => Some(Self { seen, server_name: None }),
        }
    }

    /// What is left when no more of them come.
    fn nothing_more(leaning: Leaning) -> Self {
        let seen = if leaning == Leaning::Request { Seen::Http1 } else { Seen::Opaque };
        Self { seen, server_name: None }
    }
}

/// Whether the first TLS record is all there (RFC 8446, section 5.1), or is too long to be waited for.
fn is_whole_record(bytes: &[u8]) -> bool {
    match bytes {
        [_, _, _, high, low, rest @ ..] => {
            rest.len() >= usize::from(u16::from_be_bytes([*high, *low])) || bytes.len() >= WINDOW
        }
        _ => false,
    }
}

impl Peeker {
    /// What the client said leans to, as long as it is not enough.
    pub(super) const fn leaning(&self) -> Leaning {
        self.leaning
    }

    /// When it had come; `None` if the first bytes were enough.
    pub(super) const fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Keeps what is known of bytes that are not enough.
    fn heard(&mut self, known: usize, leaning: Leaning) {
        (self.known, self.leaning) = (known, leaning);
        if known > 0 {
            self.since.get_or_insert_with(Instant::now);
        }
    }

    /// Ready when what the client said is enough, or it says no more.
    pub(super) fn poll(&mut self, near: &mut Near, context: &mut Context<'_>) -> Poll<io::Result<Spoken>> {
        match near {
            Near::Socket(leg) => self.poll_socket(leg, context),
            Near::Stream(channel) => loop {
                let more = ready!(channel.poll_peek_more(context, self.known))?;
                if let Some(spoken) = Spoken::of(channel.peeked()) {
                    return Poll::Ready(Ok(spoken));
                }
                self.heard(channel.peeked().len(), detect::lean(channel.peeked()));
                if !more {
                    return Poll::Ready(Ok(Spoken::nothing_more(self.leaning)));
                }
            },
        }
    }

    fn poll_socket(&mut self, socket: &TcpStream, context: &mut Context<'_>) -> Poll<io::Result<Spoken>> {
        loop {
            ready!(socket.poll_read_ready(context))?;
            let mut heard = None;
            // "Would block" is how readiness is cleared, so that more bytes wake us again. The bytes stay in the socket, of
            // which nobody will be told a second time: see `Leg::moved_to`.
            let peeked = socket.try_io(Interest::READABLE, || {
                peek(socket, |bytes| {
                    let spoken = match bytes {
                        [] => Some(Spoken::nothing_more(Leaning::Neither)),
                        _ => Spoken::of(bytes),
                    };
                    if spoken.is_none() {
                        heard = Some((bytes.len(), detect::lean(bytes)));
                    }
                    spoken
                })?
                .ok_or_else(|| io::ErrorKind::WouldBlock.into())
            });
            match (peeked, heard) {
                // Called ready with nothing new: the client says no more.
                (Err(error), Some((length, leaning)))
                    if error.kind() == io::ErrorKind::WouldBlock && length == self.known =>
                {
                    return Poll::Ready(Ok(Spoken::nothing_more(leaning)));
                }
                (Err(error), heard) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Some((length, leaning)) = heard {
                        self.heard(length, leaning);
                    }
                }
                (peeked, _) => return Poll::Ready(peeked),
            }
        }
    }
}

/// What an upstream does that was not asked anything yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upstream {
    /// It speaks, and no HTTP.
    Speaks,
    /// It speaks HTTP/2, whose servers may speak first (RFC 9113, section 3.4).
    Http2,
    /// It ended, or says something that servers of HTTP say to clients that say nothing.
    Ends,
}

impl Upstream {
    fn of(bytes: &[u8]) -> Self {
        match bytes {
            // A SETTINGS frame on stream 0 that is no acknowledgement.
            [_, _, _, 4, 0, 0, 0, 0, 0, ..] => Self::Http2,
            _ if bytes.is_empty() || bytes.starts_with(b"HTTP/") || b"HTTP/".starts_with(bytes) => Self::Ends,
            _ => Self::Speaks,
        }
    }

    /// Ready when the upstream does something.
    pub(super) fn poll(far: &mut Far, context: &mut Context<'_>) -> Poll<Self> {
        match far {
            Far::Plain(leg) => loop {
                // What is wrong with it is found out by whoever uses it.
                let Ok(()) = ready!(leg.poll_read_ready(context)) else { return Poll::Ready(Self::Ends) };
                match leg.try_io(Interest::READABLE, || peek(leg, Self::of)) {
                    Ok(does) => return Poll::Ready(does),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return Poll::Ready(Self::Ends),
                }
            },
            Far::Tunnel(opened) => Poll::Ready(
                ready!(opened.channel.poll_peek(context)).map_or(Self::Ends, |bytes| Self::of(bytes)),
            ),
        }
    }
}

/// Shows `look` what is in the socket's queue.
fn peek<T>(socket: &TcpStream, look: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
    scratch::with(|scratch| {
        let length = recv(socket.as_raw_fd(), &mut scratch[..WINDOW], MsgFlags::MSG_PEEK)?;
        Ok(look(&scratch[..length]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_speaks_first_is_told_from_one_of_http() {
        assert_eq!(Upstream::of(b"220 mail.example.com ESMTP\r\n"), Upstream::Speaks);
        assert_eq!(Upstream::of(b"\x4a\0\0\0\x0a11.4.2-MariaDB\0"), Upstream::Speaks);
        assert_eq!(Upstream::of(b"HTTP/1.1 408 Request Timeout\r\n"), Upstream::Ends);
        assert_eq!(Upstream::of(b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64"), Upstream::Http2);
        assert_eq!(Upstream::of(b""), Upstream::Ends);
    }
}
