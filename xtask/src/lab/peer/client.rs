//! Clients that measure: one connection at a time, each operation by itself.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::{Answer, Latencies, MESSAGE, SILENCE, errno_name};

/// Operations before those that count: caches and branch predictors warm, the core awake.
const WARM_UP: usize = 50;

/// Round trips on one connection.
pub(super) fn ping_pong(to: SocketAddr, count: usize) -> Result<Answer> {
    let mut stream = dial(to)?;
    stream.set_nodelay(true).context("set TCP_NODELAY")?;
    stream.set_read_timeout(Some(SILENCE)).context("set a read timeout")?;
    let (ping, mut pong) = ([b'p'; MESSAGE], [0; MESSAGE]);
    let mut trips = Vec::with_capacity(count);
    for trip in 0..WARM_UP + count {
        let began = Instant::now();
        stream.write_all(&ping).context("send a ping")?;
        stream.read_exact(&mut pong).context("read its echo")?;
        let took = nanoseconds_since(began);
        if trip >= WARM_UP {
            trips.push(took);
        }
    }
    Ok(connected(1, Latencies::of(trips)?, None))
}

/// Connections of one request each.
pub(super) fn request(to: SocketAddr, count: usize) -> Result<Answer> {
    let (request, mut answer) = ([b'r'; MESSAGE], [0; MESSAGE]);
    let (mut wholes, mut connects) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for turn in 0..WARM_UP + count {
        let began = Instant::now();
        let mut stream = dial(to)?;
        let connect = nanoseconds_since(began);
        stream.write_all(&request).context("send a request")?;
        stream.read_exact(&mut answer).context("read its answer")?;
        drop(stream);
        let whole = nanoseconds_since(began);
        if turn >= WARM_UP {
            connects.push(connect);
            wholes.push(whole);
        }
    }
    Ok(connected(WARM_UP + count, Latencies::of(wholes)?, Some(Latencies::of(connects)?)))
}

/// Connects that all end the same way, be it well or not.
pub(super) fn connect(to: SocketAddr, count: usize) -> Result<Answer> {
    let mut common: Option<String> = None;
    let mut connects = Vec::with_capacity(count);
    for turn in 0..WARM_UP + count {
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
        if turn >= WARM_UP {
            connects.push(took);
        }
    }
    let outcome = common.context("expected at least one connect")?;
    Ok(Answer { outcome, connections: WARM_UP + count, whole: Latencies::of(connects)?, connect: None })
}

/// Closes a connection and waits for the other side to do so too: a server that falls behind would let a connect wait
/// for room in its backlog.
fn see_off(mut stream: &TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    stream.shutdown(Shutdown::Write)?;
    stream.read_to_end(&mut Vec::new()).map(drop)
}

fn dial(to: SocketAddr) -> Result<TcpStream> {
    TcpStream::connect(to).with_context(|| format!("connect to {to}"))
}

fn connected(connections: usize, whole: Latencies, connect: Option<Latencies>) -> Answer {
    Answer { outcome: Answer::CONNECTED.to_owned(), connections, whole, connect }
}

fn nanoseconds_since(began: Instant) -> u64 {
    // Overflows after 584 years.
    began.elapsed().as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::super::server;
    use super::*;

    #[test]
    fn each_client_finds_its_server() {
        let (echo, answer) = (listener(), listener());
        let (echo_address, answer_address) = (address(&echo), address(&answer));
        thread::spawn(move || server::echo(&echo));
        thread::spawn(move || server::answer(&answer));
        assert_eq!(ping_pong(echo_address, 10).unwrap().whole.count, 10);
        let requests = request(answer_address, 10).unwrap();
        assert!(requests.connect.unwrap().p50_ns <= requests.whole.p50_ns);
        assert_eq!(connect(answer_address, 10).unwrap().outcome, "connected");
    }

    #[test]
    fn a_refused_connect_has_its_errno_and_its_time() {
        let closed = address(&listener());
        let answer = connect(closed, 3).unwrap();
        assert_eq!(answer.outcome, "ECONNREFUSED");
        assert!(answer.whole.fastest_ns > 0);
    }

    fn listener() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").unwrap()
    }

    fn address(listener: &TcpListener) -> SocketAddr {
        listener.local_addr().unwrap()
    }
}
