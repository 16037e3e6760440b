//! Pieces of known length from a socket that is shared, and to it: never a byte more than asked for is read.

use std::future::poll_fn;
use std::io;
use std::task::ready;

use tokio::net::TcpStream;

use crate::proxy::relay::socket;

/// Fills `buffer`; false if the stream ended before its first byte.
///
/// # Errors
/// The stream broke, or ended in the middle.
pub(in crate::proxy) async fn read(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<bool> {
    let mut filled = 0;
    while filled < buffer.len() {
        let rest = &mut buffer[filled..];
        match poll_fn(|context| socket::poll_read(stream, context, rest)).await? {
            0 if filled == 0 => return Ok(false),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => filled += more,
        }
    }
    Ok(true)
}

/// Writes all of `bytes`.
///
/// # Errors
/// The stream broke.
pub(in crate::proxy) async fn write(stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    let mut written = 0;
    poll_fn(|context| {
        while written < bytes.len() {
            written += ready!(socket::poll_write(stream, context, &bytes[written..]))?;
        }
        std::task::Poll::Ready(Ok(()))
    })
    .await
}
