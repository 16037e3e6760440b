//! One request to each of many servers, one after the other.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, Result};

use super::super::answer::Answer;
use super::super::effort::{Counted, Ready, nanoseconds_since};
use super::super::poller::{Notices, Poller};
use super::connection::Connection;

/// Asks each once, on a connection of its own; a server may be named more than once.
pub(in super::super) fn tour(to: &[SocketAddr], ready: Ready) -> Result<Answer> {
    let counted = Counted::begin(ready)?;
    let (mut wholes, mut bytes) = (Vec::with_capacity(to.len()), 0);
    for &server in to {
        let began = Instant::now();
        bytes += ask_once(server).with_context(|| format!("ask {server}"))?;
        wholes.push(nanoseconds_since(began));
    }
    Answer::connected(to.len(), wholes, bytes, counted.end()?)
}

fn ask_once(server: SocketAddr) -> Result<u64> {
    let (poller, mut notices) = (Poller::new()?, Notices::new());
    let mut open = Connection::open(server, 1, &poller)?;
    let connection = open.first_mut().context("expected a connection, found none")?;
    connection.ask()?;
    loop {
        poller.wait(&mut notices)?;
        if let Some(bytes) = connection.hear()? {
            return Ok(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::super::super::testing::{address, listener, no_wait};
    use super::super::serve;
    use super::*;

    #[test]
    fn each_is_asked_as_often_as_it_is_named() {
        let servers = [(); 2].map(|()| {
            let listener = listener();
            let to = address(&listener);
            thread::spawn(move || serve(&listener));
            to
        });
        let answer = tour(&[servers[0], servers[1], servers[0]], no_wait).unwrap();
        assert_eq!((answer.operations, answer.connections), (3, 3));
    }
}
