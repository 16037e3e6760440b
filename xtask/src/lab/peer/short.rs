//! Short connections, several at a time: each connects, asks once, reads the answer and closes, and the next begins.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};

use super::answer::Answer;
use super::effort::{Counted, Limit, Ready, nanoseconds_since};
use super::latencies::Latencies;
use super::poller::{Notices, Poller, Until};
use super::{MESSAGE, WARM_UP, many};

/// Answers one request per connection, on many at a time.
pub(super) fn serve(listener: &TcpListener) {
    let reply = |received: &mut Vec<u8>, stream: &mut TcpStream| match received.len() {
        // The client closes first, so that the client keeps the closed port and not the server.
        MESSAGE => stream.write_all(received),
        _ => Ok(()),
    };
    if let Err(error) = many::serve(listener, reply) {
        eprintln!("short connections are not served any more: {error:#}");
    }
}

/// Connections of one request each, `at_once` of them open all the time.
pub(super) fn visit(to: SocketAddr, at_once: usize, limit: Limit, ready: Ready) -> Result<Answer> {
    let poller = Poller::new()?;
    Visits::default().make(&poller, to, at_once, Limit::of(WARM_UP)).context("warm up")?;
    let counted = Counted::begin(ready)?;
    let visits = Visits::default().make(&poller, to, at_once, limit)?;
    let count = visits.wholes.len();
    let bytes = 2 * (MESSAGE * count) as u64;
    let answer = Answer::connected(WARM_UP + count, visits.wholes, bytes, counted.end()?)?;
    Ok(Answer { connect: Some(Latencies::of(visits.connects)?), ..answer })
}

/// What visits took so far.
#[derive(Debug, Default)]
struct Visits {
    wholes: Vec<u64>,
    connects: Vec<u64>,
}

/// One connection on its way.
#[derive(Debug)]
struct Visit {
    stream: TcpStream,
    began: Instant,
    progress: Progress,
}

/// What it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Connecting,
    /// This much of the answer has come.
    Asked(usize),
}

impl Visits {
    fn make(mut self, poller: &Poller, to: SocketAddr, at_once: usize, limit: Limit) -> Result<Self> {
        let (mut notices, began) = (Notices::new(), Instant::now());
        let mut places = Vec::with_capacity(at_once);
        for place in 0..at_once.min(limit.count) {
            places.push(Some(Visit::begin(poller, to, place)?));
        }
        let mut begun = places.len();
        while self.wholes.len() < begun {
            poller.wait(&mut notices)?;
            for place in notices.numbers() {
                let Some(visit) = places[place].as_mut() else { continue };
                if visit.progress == Progress::Connecting {
                    visit.ask(poller, place)?;
                    self.connects.push(nanoseconds_since(visit.began));
                } else if visit.has_its_answer()? {
                    let visited = visit.began;
                    places[place] = None;
                    self.wholes.push(nanoseconds_since(visited));
                    if limit.allows(begun, began) {
                        places[place] = Some(Visit::begin(poller, to, place)?);
                        begun += 1;
                    }
                }
            }
        }
        Ok(self)
    }
}

impl Visit {
    fn begin(poller: &Poller, to: SocketAddr, place: usize) -> Result<Self> {
        let began = Instant::now();
        let stream = begin_to_connect(to).with_context(|| format!("connect to {to}"))?;
        poller.watch(&stream, place, Until::Writable)?;
        Ok(Self { stream, began, progress: Progress::Connecting })
    }

    fn ask(&mut self, poller: &Poller, place: usize) -> Result<()> {
        if let Some(error) = self.stream.take_error().context("ask how a connect has ended")? {
            return Err(error).context("connect");
        }
        self.stream.write_all(&[b's'; MESSAGE]).context("send a request")?;
        self.progress = Progress::Asked(0);
        poller.turn(&self.stream, place, Until::Readable)
    }

    fn has_its_answer(&mut self) -> Result<bool> {
        let Progress::Asked(so_far) = self.progress else { return Ok(false) };
        let mut answer = [0; MESSAGE];
        let all = match self.stream.read(&mut answer).context("read an answer")? {
            0 => bail!("expected {MESSAGE} bytes of an answer, found the end after {so_far}"),
            length => so_far + length,
        };
        self.progress = Progress::Asked(all);
        Ok(all >= MESSAGE)
    }
}

fn begin_to_connect(to: SocketAddr) -> io::Result<TcpStream> {
    let family = match to {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(family, SockType::Stream, flags, None)?;
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(socket.into()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::super::testing::{address, listener, no_wait};
    use super::*;

    #[test]
    fn as_many_visits_are_made_as_were_asked_for() {
        let listener = listener();
        let to = address(&listener);
        thread::spawn(move || serve(&listener));
        for (at_once, count) in [(8, 100), (8, 3), (1, 5)] {
            let answer = visit(to, at_once, Limit::of(count), no_wait).unwrap();
            assert_eq!((answer.whole.count(), answer.operations), (count as u64, count as u64));
            let connects = answer.connect.unwrap();
            assert_eq!(connects.count(), count as u64);
            assert!(connects.min() <= answer.whole.min());
        }
    }

    #[test]
    fn a_refused_visit_is_said() {
        let closed = address(&listener());
        let error = visit(closed, 8, Limit::of(10), no_wait).unwrap_err();
        assert!(format!("{error:#}").contains("refused"), "{error:#}");
    }
}
