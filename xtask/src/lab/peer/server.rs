//! The server that clients measure against.
//!
//! Its threads last as long as it does: what a thread has spent would be lost to an observer when it ends.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, Result, bail};

use super::service::Service;
use super::{MESSAGE, bulk, http, http2, short};

/// Connections that are echoed at a time; more wait for their turn.
const ECHOES: usize = 4;
/// What an echo reads at once: a whole message of any size that is measured.
const ECHO_BUFFER: usize = 64 * 1024;

/// Serves each address by its port, for ever.
pub(super) fn serve(at: &[SocketAddr]) -> Result<()> {
    // Kinds of work share a service, and name its address once each.
    let mut at = at.to_vec();
    at.sort_unstable();
    at.dedup();
    let mut serving = Vec::new();
    for address in at {
        let (service, listener) = (Service::at(address)?, listen(address)?);
        serving.push(thread::spawn(move || match service {
            Service::Echo => echo(&listener),
            Service::Answer => answer(&listener),
            Service::AnswerMany => short::serve(&listener),
            Service::Bulk => bulk::serve(&listener),
            Service::Http => http::serve(&listener),
            Service::Http2 | Service::Collector => http2::serve(listener),
        }));
    }
    for thread in serving {
        if thread.join().is_err() {
            bail!("a server panicked");
        }
    }
    Ok(())
}

pub(super) fn listen(at: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(at).with_context(|| format!("listen on {at}"))
}

/// A thread per connection: each waits in a single read, so a round trip wakes nobody else.
pub(super) fn echo(listener: &TcpListener) {
    thread::scope(|scope| {
        for _ in 0..ECHOES {
            scope.spawn(|| {
                let mut message = vec![0; ECHO_BUFFER];
                for stream in listener.incoming().flatten() {
                    // A client that goes in the middle of a message is no concern of the others.
                    drop(echo_until_end(stream, &mut message));
                }
            });
        }
    });
}

fn echo_until_end(mut stream: TcpStream, message: &mut [u8]) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let length = stream.read(message)?;
        if length == 0 {
            return Ok(());
        }
        stream.write_all(&message[..length])?;
    }
}

/// One request per connection, one connection at a time: there is one client, and nobody to wake but this thread.
pub(super) fn answer(listener: &TcpListener) {
    for mut stream in listener.incoming().flatten() {
        let mut request = [0; MESSAGE];
        if stream.read_exact(&mut request).is_ok() && stream.write_all(&request).is_ok() {
            // Wait for the client's end, so that the client keeps the closed port and not the server.
            drop(stream.read(&mut request));
        }
    }
}
