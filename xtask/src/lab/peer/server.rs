//! The server that clients measure against.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, Result};

use super::MESSAGE;

/// Echoes on one address and answers requests on another, for ever.
pub(super) fn serve(echo_at: SocketAddr, answer_at: SocketAddr) -> Result<()> {
    let (echoing, answering) = (listen(echo_at)?, listen(answer_at)?);
    thread::spawn(move || echo(&echoing));
    answer(&answering);
    Ok(())
}

pub(super) fn listen(at: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(at).with_context(|| format!("listen on {at}"))
}

/// A thread per connection: each waits in a single read, so a round trip wakes nobody else.
pub(super) fn echo(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        // A client that goes in the middle of a message is no concern of the others.
        thread::spawn(move || echo_until_end(stream));
    }
}

fn echo_until_end(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut message = [0; MESSAGE];
    loop {
        let length = stream.read(&mut message)?;
        if length == 0 {
            return Ok(());
        }
        stream.write_all(&message[..length])?;
    }
}

/// One request per connection, one connection at a time: there is one client, and no thread to start for each.
pub(super) fn answer(listener: &TcpListener) {
    for mut stream in listener.incoming().flatten() {
        let mut request = [0; MESSAGE];
        if stream.read_exact(&mut request).is_ok() && stream.write_all(&request).is_ok() {
            // Wait for the client's end, so that the client keeps the closed port and not the server.
            drop(stream.read(&mut request));
        }
    }
}
