//! Clients that measure: one connection at a time, each operation by itself.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::answer::Answer;
use super::effort::{Counted, Limit, Ready, nanoseconds_since};
use super::latencies::Latencies;
use super::{MESSAGE, SILENCE, WARM_UP, errno_name};

/// Round trips of `size` bytes on one connection.
pub(super) fn ping_pong(to: SocketAddr, size: usize, limit: Limit, ready: Ready) -> Result<Answer> {
    let mut stream = dial(to)?;
    stream.set_nodelay(true).context("set TCP_NODELAY")?;
    stream.set_read_timeout(Some(SILENCE)).context("set a read timeout")?;
    let (ping, mut pong) = (vec![b'p'; size], vec![0; size]);
    let mut trip = || {
        let began = Instant::now();
        stream.write_all(&ping).context("send a ping")?;
        stream.read_exact(&mut pong).context("read its echo")?;
        Ok::<_, anyhow::Error>(nanoseconds_since(began))
    };
    for _ in 0..WARM_UP {
        trip()?;
    }
    let counted = Counted::begin(ready)?;
    let mut trips = Vec::with_capacity(limit.count);
    while limit.allows(trips.len(), counted.began()) {
        trips.push(trip()?);
    }
    let bytes = 2 * (size * trips.len()) as u64;
    Answer::connected(1, trips, bytes, counted.end()?)
}

/// Connections of one request each.
pub(super) fn request(to: SocketAddr, limit: Limit, ready: Ready) -> Result<Answer> {
    let (request, mut answer) = ([b'r'; MESSAGE], [0; MESSAGE]);
    let mut visit = || {
        let began = Instant::now();
        let mut stream = dial(to)?;
        let connect = nanoseconds_since(began);
        stream.write_all(&request).context("send a request")?;
        stream.read_exact(&mut answer).context("read its answer")?;
        drop(stream);
        Ok::<_, anyhow::Error>((connect, nanoseconds_since(began)))
    };
    for _ in 0..WARM_UP {
        visit()?;
    }
    let counted = Counted::begin(ready)?;
    let (mut wholes, mut connects) = (Vec::with_capacity(limit.count), Vec::with_capacity(limit.count));
    while limit.allows(wholes.len(), counted.began()) {
        let (connect, whole) = visit()?;
        connects.push(connect);
        wholes.push(whole);
    }
    let bytes = 2 * (MESSAGE * wholes.len()) as u64;
    let answer = Answer::connected(WARM_UP + wholes.len(), wholes, bytes, counted.end()?)?;
    Ok(Answer { connect: Some(Latencies::of(connects)?), ..answer })
}

/// Connects that all end the same way, be it well or not.
pub(super) fn connect(to: SocketAddr, limit: Limit, ready: Ready) -> Result<Answer> {
    let mut common: Option<String> = None;
    let mut attempt = |turn: usize| {
        let began = Instant::now();
        let stream = TcpStream::connect(to);
        let took = nanoseconds_since(began);
        let outcome = match stream {
            Ok(stream) => {
                see_off(&stream).context("wait for the server to close")?;
                Answer::CONNECTED.to_owned()
            }
            Err(error) => errno_name(&error),
        };
        match &common {
            Some(common) if *common != outcome => {
                bail!("connecting to {to} ended with {outcome} after {turn} times {common}")
            }
            _ => common = Some(outcome),
        }
        Ok(took)
    };
    for turn in 0..WARM_UP {
        attempt(turn)?;
    }
    let counted = Counted::begin(ready)?;
    let mut connects = Vec::with_capacity(limit.count);
    while limit.allows(connects.len(), counted.began()) {
        connects.push(attempt(WARM_UP + connects.len())?);
    }
    let answer = Answer::connected(WARM_UP + connects.len(), connects, 0, counted.end()?)?;
    Ok(Answer { outcome: common.context("expected at least one connect")?, ..answer })
}

/// Closes a connection and waits for the other side to do so too: a server that falls behind would let a connect wait
/// for room in its backlog.
fn see_off(mut stream: &TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    stream.shutdown(Shutdown::Write)?;
    stream.read_to_end(&mut Vec::new()).map(drop)
}

pub(super) fn dial(to: SocketAddr) -> Result<TcpStream> {
    TcpStream::connect(to).with_context(|| format!("connect to {to}"))
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::super::server;
    use super::super::testing::{address, listener, no_wait};
    use super::*;

    #[test]
    fn each_client_finds_its_server() {
        let (echo, answer) = (listener(), listener());
        let (echo_address, answer_address) = (address(&echo), address(&answer));
        thread::spawn(move || server::echo(&echo));
        thread::spawn(move || server::answer(&answer));
        let ten = Limit::of(10);
        for size in [MESSAGE, 16 * 1024, 1_000_000] {
            let trips = ping_pong(echo_address, size, ten, no_wait).unwrap();
            assert_eq!((trips.whole.count(), trips.operations), (10, 10));
            assert_eq!(trips.bytes, 20 * size as u64);
        }
        let requests = request(answer_address, ten, no_wait).unwrap();
        assert!(requests.connect.unwrap().quantile(0.5) <= requests.whole.quantile(0.5));
        assert_eq!(connect(answer_address, ten, no_wait).unwrap().outcome, "connected");
    }

    #[test]
    fn a_refused_connect_has_its_errno_and_its_time() {
        let closed = address(&listener());
        let answer = connect(closed, Limit::of(3), no_wait).unwrap();
        assert_eq!(answer.outcome, "ECONNREFUSED");
        assert!(answer.whole.min() > 0);
    }

    #[test]
    fn a_client_that_is_out_of_time_has_done_less_and_says_so() {
        let echo = listener();
        let to = address(&echo);
        thread::spawn(move || server::echo(&echo));
        let limit = Limit { count: 1_000_000, within: Some(Duration::from_millis(20)) };
        let answer = ping_pong(to, MESSAGE, limit, no_wait).unwrap();
        assert!(answer.operations < 1_000_000 && answer.operations == answer.whole.count());
        assert_eq!(answer.bytes, answer.operations * 2 * MESSAGE as u64);
    }
}
