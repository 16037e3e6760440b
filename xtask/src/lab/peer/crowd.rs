//! Very many connections that do nothing: a client that opens them and a server that keeps them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use anyhow::{Context, Result, bail};

use super::{MESSAGE, SILENCE, lift_descriptor_limit, server};

/// Said when all connections stand, before their number.
const STANDING: &str = "standing: ";

/// How many connections a client said that it holds; none as long as it is opening them.
pub(crate) fn standing(said: &str) -> Option<usize> {
    said.lines().find_map(|line| line.strip_prefix(STANDING)?.parse().ok())
}

/// Answers the first message of each connection and keeps it open, for ever.
pub(super) fn collect(listen: &[SocketAddr]) -> Result<()> {
    lift_descriptor_limit()?;
    let mut collectors = Vec::new();
    for &address in listen {
        let listener = server::listen(address)?;
        collectors.push(thread::spawn(move || {
            let mut kept = Vec::new();
            for mut stream in listener.incoming().flatten() {
                let mut message = [0; MESSAGE];
                if stream.read_exact(&mut message).is_ok() && stream.write_all(&message).is_ok() {
                    kept.push(stream);
                }
            }
        }));
    }
    for collector in collectors {
        if collector.join().is_err() {
            bail!("a collector panicked");
        }
    }
    Ok(())
}

/// Opens `count` connections in turn to the addresses, or as many as it can, says how many stand, and holds them until
/// it is killed.
pub(super) fn hold(count: usize, to: &[SocketAddr]) -> Result<()> {
    lift_descriptor_limit()?;
    let mut held = Vec::with_capacity(count);
    for &address in to.iter().cycle().take(count) {
        match open(address) {
            Ok(stream) => held.push(stream),
            Err(error) => {
                eprintln!("connection {} to {address}: {error:#}", held.len());
                break;
            }
        }
    }
    println!("{STANDING}{}", held.len());
    loop {
        thread::park();
    }
}

/// A connection that is known to lead all the way to the server.
fn open(address: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).context("connect")?;
    stream.set_read_timeout(Some(SILENCE)).context("set a read timeout")?;
    let mut message = [b'h'; MESSAGE];
    stream.write_all(&message).context("send a message")?;
    stream.read_exact(&mut message).context("read its echo")?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_stands_says_with_how_many() {
        assert_eq!(standing("connection 7 to 10.78.0.2:1: connect\nstanding: 7\n"), Some(7));
        assert_eq!(standing("connection 7 to 10.78.0.2:1: connect\n"), None);
    }
}
