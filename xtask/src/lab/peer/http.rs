//! HTTP/1.1 on connections that stay open: a server, and two clients that ask as soon as they can or when it is time.
//!
//! One thread each, and no more of the protocol than the measurements need; what is said is proper HTTP, so that a proxy
//! that parses it can be in between.

mod closed;
mod connection;
mod message;
mod open;
mod tour;

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};

use super::many;

pub(super) use closed::closed_loop;
pub(super) use open::open_loop;
pub(super) use tour::tour;

/// The same answer to every request: a hundred bytes.
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n\
    The quick brown fox jumps over the lazy dog, and the lazy dog sleeps on until the pack comes home.\r\n";

/// Answers every request with the same hundred bytes.
pub(super) fn serve(listener: &TcpListener) {
    if let Err(error) = many::serve(listener, reply) {
        eprintln!("HTTP is not served any more: {error:#}");
    }
}

fn reply(received: &mut Vec<u8>, stream: &mut TcpStream) -> std::io::Result<()> {
    while let Some(length) = message::request(received).map_err(std::io::Error::other)? {
        stream.write_all(RESPONSE)?;
        received.drain(..length);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::thread;

    use super::super::testing::{address, listener};
    use super::*;

    #[test]
    fn what_is_promised_is_as_long_as_it_says() {
        assert_eq!(message::response(RESPONSE).unwrap(), Some(RESPONSE.len()));
    }

    #[test]
    fn a_request_in_pieces_is_answered_once_and_two_at_once_are_answered_twice() {
        let listener = listener();
        let to = address(&listener);
        thread::spawn(move || serve(&listener));
        let mut stream = TcpStream::connect(to).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut answer = vec![0; RESPONSE.len()];
        for piece in ["POST / HTTP/1.1\r\nHost: x\r\nContent-", "Length: 4\r\n\r\nbo", "dy"] {
            stream.write_all(piece.as_bytes()).unwrap();
        }
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, RESPONSE);
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        for _ in 0..2 {
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(answer, RESPONSE);
        }
        stream.write_all(b"nonsense\r\n\r\n").unwrap();
        assert_eq!(stream.read(&mut answer).unwrap_or(0), 0);
    }
}
