//! The closed loop: every connection asks again as soon as it has its answer, so that the rate is what can be served.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, Result};

use super::super::WARM_UP;
use super::super::answer::Answer;
use super::super::effort::{Counted, Limit, Ready, nanoseconds_since};
use super::super::poller::{Notices, Poller};
use super::connection::Connection;

/// Requests over that many connections.
pub(in super::super) fn closed_loop(
    to: SocketAddr,
    connections: usize,
    limit: Limit,
    ready: Ready,
) -> Result<Answer> {
    let poller = Poller::new()?;
    let mut open = Connection::open(to, connections, &poller)?;
    warm_up(&mut open, &poller)?;
    let counted = Counted::begin(ready)?;
    let Asked { wholes, bytes } = ask(&mut open, &poller, limit)?;
    Answer::connected(connections, wholes, bytes, counted.end()?)
}

/// Answers that have come.
#[derive(Debug)]
pub(super) struct Asked {
    wholes: Vec<u64>,
    bytes: u64,
}

/// Uses every connection, so that each is known to lead all the way.
pub(super) fn warm_up(open: &mut [Connection], poller: &Poller) -> Result<()> {
    let count = WARM_UP.max(2 * open.len());
    ask(open, poller, Limit::of(count)).context("warm up").map(drop)
}

fn ask(open: &mut [Connection], poller: &Poller, limit: Limit) -> Result<Asked> {
    let (mut notices, began) = (Notices::new(), Instant::now());
    let mut asked = Asked { wholes: Vec::with_capacity(limit.count), bytes: 0 };
    let mut times = Vec::with_capacity(open.len());
    for connection in open.iter_mut().take(limit.count) {
        times.push(Instant::now());
        connection.ask()?;
    }
    let mut begun = times.len();
    while asked.wholes.len() < begun {
        poller.wait(&mut notices)?;
        for number in notices.numbers() {
            let Some(bytes) = open[number].hear()? else { continue };
            asked.wholes.push(nanoseconds_since(times[number]));
            asked.bytes += bytes;
            if limit.allows(begun, began) {
                begun += 1;
                times[number] = Instant::now();
                open[number].ask()?;
            }
        }
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::super::super::testing::{address, listener, no_wait};
    use super::super::serve;
    use super::*;

    #[test]
    fn as_many_requests_are_answered_as_were_asked_for() {
        let listener = listener();
        let to = address(&listener);
        thread::spawn(move || serve(&listener));
        for (connections, count) in [(1, 50), (32, 500), (64, 10)] {
            let answer = closed_loop(to, connections, Limit::of(count), no_wait).unwrap();
            assert_eq!((answer.operations, answer.whole.count()), (count as u64, count as u64));
            assert_eq!(answer.connections, connections);
        }
    }

    #[test]
    fn a_refusal_ends_the_measurement() {
        use std::io::{Read as _, Write as _};
        let listener = listener();
        let to = address(&listener);
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 16]).unwrap();
            stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n").unwrap();
            thread::park();
        });
        let error = closed_loop(to, 1, Limit::of(10), no_wait).unwrap_err();
        assert!(format!("{error:#}").ends_with("expected status 200, found 503"), "{error:#}");
    }
}
