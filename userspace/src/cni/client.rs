//! The plugin's end of the socket: one request, one answer, within a time. Blocking: a process that lives for milliseconds has
//! no use for a runtime.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use super::peer::{self, Stranger};
use super::wire::{self, Answer, PREFIX, Request};
use crate::sys::rights;

/// Pause before the successor is asked of an agent that ended without an answer: the first one, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(200)];

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    /// Nobody listens.
    #[error("the node's agent is not there")]
    Absent(#[source] io::Error),
    /// Whoever listens is somebody else.
    #[error("whoever listens is not the node's agent")]
    Forged(#[source] Stranger),
    /// Time is up.
    #[error("the node's agent has not answered within {}", humantime::format_duration(*.0))]
    Late(Duration),
    /// What it says is not an answer.
    #[error("the node's agent cannot be understood")]
    Strange(#[source] io::Error),
}

/// Asks the agent. One that ends before it has answered has a successor, which is asked again: every request may be made twice.
pub(super) fn ask(
    socket: &Path,
    request: &Request,
    netns: Option<BorrowedFd<'_>>,
    patience: Duration,
) -> Result<Answer, Unanswered> {
    let deadline = Instant::now() + patience;
    let message = wire::encode(request).map_err(Unanswered::Strange)?;
    let mut pause = PAUSES[0];
    loop {
        let outcome = connect(socket, deadline)
            .map_err(Attempt::Unconnected)
            .and_then(agent)
            .and_then(|stream| exchange(stream, &message, netns, deadline).map_err(Attempt::Unanswered));
        match outcome {
            Ok(answer) => return Ok(answer),
            Err(Attempt::Forged(stranger)) => return Err(Unanswered::Forged(stranger)),
            Err(Attempt::Unconnected(error)) if !is_late(&error) => return Err(Unanswered::Absent(error)),
            Err(Attempt::Unanswered(error)) if error.kind() == ErrorKind::InvalidData => {
                return Err(Unanswered::Strange(error));
            }
            Err(Attempt::Unanswered(error)) if !is_late(&error) && Instant::now() + pause < deadline => {
                sleep(pause);
                pause = (pause * 2).min(PAUSES[1]);
            }
            Err(_) => return Err(Unanswered::Late(patience)),
        }
    }
}

enum Attempt {
    Unconnected(io::Error),
    Forged(Stranger),
    Unanswered(io::Error),
}

/// Connects. With a full backlog that takes as long as writing may (`unix_stream_connect`, net/unix/af_unix.c).
fn connect(path: &Path, deadline: Instant) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(left(deadline)?))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket.into())
}

/// Believes nobody but an agent, and tells nobody else anything: whoever says that a pod is captured has its network uncaptured.
fn agent(stream: UnixStream) -> Result<UnixStream, Attempt> {
    match peer::is_agent(&stream) {
        Ok(()) => Ok(stream),
        // One that has ended has a successor.
        Err(Stranger::Ended) => Err(Attempt::Unanswered(ErrorKind::ConnectionReset.into())),
        Err(stranger) => Err(Attempt::Forged(stranger)),
    }
}

fn exchange(
    mut stream: UnixStream,
    message: &[u8],
    netns: Option<BorrowedFd<'_>>,
    deadline: Instant,
) -> io::Result<Answer> {
    // Who is turned away is told so before everything is sent: what there is to read is read in any case.
    let sent = rights::send(&stream, message, netns).and_then(|sent| stream.write_all(&message[sent..]));
    let mut prefix = [0; PREFIX];
    read(&mut stream, &mut prefix, deadline).map_err(|error| sent.err().unwrap_or(error))?;
    let mut body = vec![0; wire::length(prefix)?];
    read(&mut stream, &mut body, deadline)?;
    wire::decode(&body)
}

/// Fills a buffer before the deadline.
fn read(stream: &mut UnixStream, mut into: &mut [u8], deadline: Instant) -> io::Result<()> {
    while !into.is_empty() {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(into) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => into = &mut into[read..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The time that is left, which is never none: a timeout of zero is no timeout at all.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left < Duration::from_millis(1) { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock)
}
