//! How connections end: resets, refusals, timeouts, each with whose fault it was.

use super::*;
use crate::model::{Side, Verdict};

/// What the other end of a reset connection reads.
async fn is_reset(stream: &mut TcpStream) -> bool {
    let read = within(async {
        loop {
            match stream.read(&mut [0; 4096]).await {
                Ok(0) => break Ok(()),
                Ok(_) => {}
                Err(error) => break Err(error),
            }
        }
    });
    read.await.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
}

async fn reset(stream: TcpStream) {
    stream.set_zero_linger().unwrap();
    drop(stream);
}

#[tokio::test]
async fn a_reset_by_the_client_reaches_the_upstream() {
    let mut pair = Pair::open(LIMITS).await;
    pair.greet().await;
    reset(pair.client).await;
    assert!(is_reset(&mut pair.upstream).await);
    let fault = pair.bench.ended().await.fault.unwrap();
    assert_eq!((fault.side, fault.doing), (Side::Workload, "read from client"));
}

#[tokio::test]
async fn a_reset_by_the_upstream_reaches_the_client() {
    let mut pair = Pair::open(LIMITS).await;
    pair.greet().await;
    reset(pair.upstream).await;
    assert!(is_reset(&mut pair.client).await);
    let fault = pair.bench.ended().await.fault.unwrap();
    assert_eq!((fault.side, fault.doing), (Side::Peer, "read from upstream"));
}

#[tokio::test]
async fn a_reset_is_carried_while_the_other_side_does_not_read() {
    let mut pair = Pair::open(LIMITS).await;
    let piece = vec![0; 1 << 20];
    while tokio::time::timeout(Duration::from_millis(200), pair.client.write_all(&piece)).await.is_ok() {}
    reset(pair.client).await;
    let fault = pair.bench.ended().await.fault.unwrap();
    assert_eq!(fault.side, Side::Workload);
    assert!(is_reset(&mut pair.upstream).await);
}

#[tokio::test]
async fn a_reset_after_a_half_close_is_carried() {
    let mut pair = Pair::open(LIMITS).await;
    pair.client.shutdown().await.unwrap();
    assert_eq!(within(pair.upstream.read(&mut [0; 8])).await.unwrap(), 0);
    reset(pair.client).await;
    // Behind the end of the stream a read tells of nothing more; the error condition of the socket does.
    within(pair.upstream.ready(tokio::io::Interest::ERROR)).await.unwrap();
    assert_eq!(pair.bench.ended().await.fault.unwrap().side, Side::Workload);
}

#[tokio::test]
async fn an_answer_in_front_of_a_reset_is_still_heard() {
    let mut pair = Pair::open(LIMITS).await;
    pair.greet().await;
    // The upstream answers and closes with the client's bytes unread, which resets the connection.
    pair.client.write_all(&[1; 1024]).await.unwrap();
    within(pair.upstream.readable()).await.unwrap();
    pair.upstream.write_all(b"too large").await.unwrap();
    drop(pair.upstream);
    let mut heard = Vec::new();
    let _ = within(pair.client.read_to_end(&mut heard)).await;
    assert_eq!(heard, b"too large");
}

#[tokio::test]
async fn a_failed_dial_resets_the_client() {
    // Bound and not listening: refused, and nobody else can take the port.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    for (entry, side) in [(Entry::Outbound, Side::Peer), (Entry::Inbound, Side::Workload)] {
        let bench = Bench::start(entry, LIMITS, Some(socket.local_addr().unwrap()));
        let mut client = bench.connect().await;
        assert!(is_reset(&mut client).await);
        let ended = bench.ended().await;
        assert_eq!(ended.verdict, Verdict::Proxy);
        assert_eq!(ended.upstream.unwrap().0, socket.local_addr().unwrap());
        let fault = ended.fault.unwrap();
        assert_eq!((fault.side, fault.doing), (side, "dial upstream"));
        assert_eq!(fault.source.kind(), io::ErrorKind::ConnectionRefused);
    }
}

/// A listener whose backlog is full, so that a dial neither succeeds nor fails.
async fn silent() -> (TcpListener, Vec<TcpStream>) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await
    {
        queued.push(stream.unwrap());
    }
    (listener, queued)
}

#[tokio::test]
async fn a_dial_without_an_answer_ends_at_the_connect_timeout() {
    let (listener, _queued) = silent().await;
    let limits = Limits { connect_timeout: Duration::from_millis(50), ..LIMITS };
    let bench = Bench::start(Entry::Outbound, limits, Some(listener.local_addr().unwrap()));
    let mut client = bench.connect().await;
    assert!(is_reset(&mut client).await);
    let fault = bench.ended().await.fault.unwrap();
    assert_eq!((fault.side, fault.source.kind()), (Side::Peer, io::ErrorKind::TimedOut));
}

#[tokio::test]
async fn a_client_that_resets_cancels_the_dial() {
    let (listener, _queued) = silent().await;
    let limits = Limits { connect_timeout: Duration::from_secs(3600), ..LIMITS };
    let bench = Bench::start(Entry::Outbound, limits, Some(listener.local_addr().unwrap()));
    let client = bench.connect().await;
    eventually(|| bench.instance.active() == 1).await;
    reset(client).await;
    let fault = bench.ended().await.fault.unwrap();
    assert_eq!((fault.side, fault.doing), (Side::Workload, "wait for upstream"));
}

#[tokio::test]
async fn an_idle_connection_is_ended_at_its_timeout() {
    let limits = Limits { idle_timeout: Duration::from_millis(200), ..LIMITS };
    let mut pair = Pair::open(limits).await;
    for _ in 0..8 {
        pair.greet().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(is_reset(&mut pair.client).await);
    assert!(is_reset(&mut pair.upstream).await);
    let ended = pair.bench.ended().await;
    assert!(ended.duration >= Duration::from_millis(400 + 200), "bytes did not keep it open: {ended:?}");
    let fault = ended.fault.unwrap();
    assert_eq!((fault.side, fault.source.kind()), (Side::Agent, io::ErrorKind::TimedOut));
}

#[tokio::test]
async fn a_connection_without_handoff_is_refused() {
    let bench = Bench::start(Entry::Outbound, LIMITS, None);
    let mut client = bench.connect().await;
    assert!(is_reset(&mut client).await);
    let ended = bench.ended().await;
    assert_eq!((ended.verdict, ended.reason), (Verdict::Deny, Reason::NoHandoff));
    assert_eq!((ended.original, ended.upstream), (None, None));
    assert_eq!(ended.client.unwrap().0, client.local_addr().unwrap());
    assert_eq!(ended.fault.unwrap().side, Side::Agent);
}

#[tokio::test]
async fn a_connection_meant_for_our_own_listener_is_refused() {
    let bench = Bench::start(Entry::Outbound, LIMITS, None);
    *bench.handoffs.destination.lock().unwrap() = Some(bench.listening.address());
    let mut client = bench.connect().await;
    assert!(is_reset(&mut client).await);
    let ended = bench.ended().await;
    assert_eq!((ended.verdict, ended.reason), (Verdict::Deny, Reason::OwnListener));
}

#[tokio::test]
async fn an_inbound_connection_that_dialled_our_port_is_refused() {
    let bench = Bench::with(Entry::Inbound, LIMITS, Fixed { steered: true, ..Fixed::default() });
    let mut client = bench.connect().await;
    assert!(is_reset(&mut client).await);
    let ended = bench.ended().await;
    assert_eq!((ended.verdict, ended.reason), (Verdict::Deny, Reason::OwnListener));
    assert_eq!(ended.fault.unwrap().side, Side::Peer);
}

#[tokio::test]
async fn one_connection_more_than_allowed_is_reset() {
    let limits = Limits { max_connections: 2, ..LIMITS };
    let bench = Bench::start(Entry::Outbound, limits, Some(echo().await));
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = bench.connect().await;
        client.write_all(b"x").await.unwrap();
        within(client.read_exact(&mut [0])).await.unwrap();
        held.push(client);
    }
    let mut extra = bench.connect().await;
    assert!(is_reset(&mut extra).await);
    eventually(|| bench.seen.ended.lock().unwrap().len() == 1).await;
    assert_eq!(bench.instance.over_limit(), 1);
    let fault = bench.seen.ended.lock().unwrap().pop().unwrap().fault.unwrap();
    assert_eq!((fault.side, fault.source.kind()), (Side::Agent, io::ErrorKind::QuotaExceeded));

    held.pop();
    eventually(|| bench.instance.active() == 1).await;
    let mut next = bench.connect().await;
    next.write_all(b"x").await.unwrap();
    within(next.read_exact(&mut [0])).await.unwrap();
}
