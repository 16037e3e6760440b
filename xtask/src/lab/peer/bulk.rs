//! Very many bytes on one connection, one way or both ways at once, and the proof that all of them arrived.
//!
//! Both sides are here, for they move bytes alike. The client says how many bytes it will send and how many it wants;
//! both happen at the same time; then the server says how many it got.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::SILENCE;
use super::answer::Answer;
use super::client::dial;
use super::effort::{Counted, Ready, nanoseconds_since};

/// Bytes that are given to the kernel, or taken from it, at once.
const CHUNK: usize = 256 * 1024;
/// What is sent before the bytes that count, so that the windows are open.
const WARM_UP: u64 = 16 * MEBIBYTE;
/// One operation.
const MEBIBYTE: u64 = 1024 * 1024;

/// Bytes from the client, bytes to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Amounts {
    pub(super) there: u64,
    pub(super) back: u64,
}

impl Amounts {
    const ENCODED: usize = 16;

    fn encode(self) -> [u8; Self::ENCODED] {
        ((u128::from(self.there) << 64) | u128::from(self.back)).to_be_bytes()
    }

    fn decode(bytes: [u8; Self::ENCODED]) -> Self {
        let both = u128::from_be_bytes(bytes);
        Self { there: (both >> 64) as u64, back: both as u64 }
    }

    /// Of each direction that is used, at most this much.
    fn at_most(self, limit: u64) -> Self {
        Self { there: self.there.min(limit), back: self.back.min(limit) }
    }
}

/// One transfer that counts. Its operations are mebibytes.
pub(super) fn transfer(to: SocketAddr, amounts: Amounts, ready: Ready) -> Result<Answer> {
    let stream = dial(to)?;
    stream.set_nodelay(true).context("set TCP_NODELAY")?;
    stream.set_read_timeout(Some(SILENCE)).context("set a read timeout")?;
    let mut chunk = vec![b'b'; CHUNK];
    ask(&stream, amounts.at_most(WARM_UP), &mut chunk).context("transfer a little")?;
    let counted = Counted::begin(ready)?;
    let began = Instant::now();
    ask(&stream, amounts, &mut chunk)?;
    let whole = nanoseconds_since(began);
    let bytes = amounts.there + amounts.back;
    let answer = Answer::connected(1, vec![whole], bytes, counted.end()?)?;
    Ok(Answer { operations: bytes / MEBIBYTE, ..answer })
}

fn ask(mut stream: &TcpStream, amounts: Amounts, chunk: &mut [u8]) -> Result<()> {
    stream.write_all(&amounts.encode()).context("say how much is to be transferred")?;
    exchange(stream, amounts.there, amounts.back, chunk).context("transfer")?;
    let mut arrived = [0; 8];
    stream.read_exact(&mut arrived).context("read how much has arrived")?;
    let arrived = u64::from_be_bytes(arrived);
    ensure!(arrived == amounts.there, "expected {} bytes to arrive, found {arrived}", amounts.there);
    Ok(())
}

/// Serves one connection at a time: there is one client.
pub(super) fn serve(listener: &TcpListener) {
    let mut chunk = vec![b'b'; CHUNK];
    for stream in listener.incoming().flatten() {
        // A client that goes in the middle is no concern of the next one.
        drop(answer(&stream, &mut chunk));
    }
}

fn answer(mut stream: &TcpStream, chunk: &mut [u8]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let mut amounts = [0; Amounts::ENCODED];
        stream.read_exact(&mut amounts)?;
        let Amounts { there, back } = Amounts::decode(amounts);
        let arrived = exchange(stream, back, there, chunk)?;
        stream.write_all(&arrived.to_be_bytes())?;
    }
}

/// Sends and receives at the same time, and tells how much was received.
fn exchange(mut stream: &TcpStream, send: u64, receive: u64, chunk: &mut [u8]) -> io::Result<u64> {
    let (mut to_send, mut received) = (send, 0);
    // Where there is only one direction, waiting in the call itself is the shortest way.
    stream.set_nonblocking(send > 0 && receive > 0)?;
    while to_send > 0 || received < receive {
        let mut moved = 0;
        if to_send > 0 {
            let length = at_most(chunk.len(), to_send);
            let sent = unless_blocked(stream.write(&chunk[..length]))?;
            to_send -= sent;
            moved += sent;
        }
        if received < receive {
            let length = at_most(chunk.len(), receive - received);
            let taken = unless_blocked(match stream.read(&mut chunk[..length]) {
                Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
                read => read,
            })?;
            received += taken;
            moved += taken;
        }
        if moved == 0 {
            wait(stream, to_send > 0, received < receive)?;
        }
    }
    stream.set_nonblocking(false)?;
    Ok(received)
}

fn at_most(length: usize, rest: u64) -> usize {
    usize::try_from(rest).map_or(length, |rest| rest.min(length))
}

fn unless_blocked(moved: io::Result<usize>) -> io::Result<u64> {
    match moved {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        moved => moved.map(|length| length as u64),
    }
}

fn wait(stream: &TcpStream, to_write: bool, to_read: bool) -> io::Result<()> {
    let mut until = PollFlags::empty();
    until.set(PollFlags::POLLOUT, to_write);
    until.set(PollFlags::POLLIN, to_read);
    let limit = PollTimeout::try_from(SILENCE).map_err(io::Error::other)?;
    match poll(&mut [PollFd::new(stream.as_fd(), until)], limit)? {
        0 => Err(ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::super::testing::{address, listener, no_wait};
    use super::*;

    #[test]
    fn all_bytes_arrive_one_way_and_both_ways() {
        let listener = listener();
        let to = address(&listener);
        thread::spawn(move || serve(&listener));
        for (there, back) in [(40 * MEBIBYTE, 0), (0, 3 * MEBIBYTE), (40 * MEBIBYTE, 40 * MEBIBYTE)] {
            let answer = transfer(to, Amounts { there, back }, no_wait).unwrap();
            assert_eq!(answer.bytes, there + back);
            assert_eq!(answer.operations, (there + back) / MEBIBYTE);
            assert_eq!(answer.whole.count(), 1);
        }
    }

    #[test]
    fn a_server_that_got_less_is_found_out() {
        let listener = listener();
        let to = address(&listener);
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut all = vec![0; Amounts::ENCODED + 1000];
            stream.read_exact(&mut all).unwrap();
            stream.write_all(&999_u64.to_be_bytes()).unwrap();
        });
        let error = transfer(to, Amounts { there: 1000, back: 0 }, no_wait).unwrap_err();
        assert!(format!("{error:#}").ends_with("expected 1000 bytes to arrive, found 999"), "{error:#}");
    }

    #[test]
    fn amounts_are_read_as_they_were_written() {
        let amounts = Amounts { there: 1 << 40, back: 7 };
        assert_eq!(Amounts::decode(amounts.encode()), amounts);
        assert_eq!(amounts.at_most(100), Amounts { there: 100, back: 7 });
    }
}
