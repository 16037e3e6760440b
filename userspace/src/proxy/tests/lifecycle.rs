//! Listeners and instances from their start to their end.

use super::super::Threads;
use super::*;
use crate::model::{Side, Verdict};

#[tokio::test]
async fn a_connection_is_told_with_all_that_is_known() {
    let upstream = echo().await;
    let bench = Bench::start(Entry::Outbound, LIMITS, Some(upstream));
    let mut client = bench.connect().await;
    let address = client.local_addr().unwrap();
    client.write_all(b"hello").await.unwrap();
    client.shutdown().await.unwrap();
    let mut heard = Vec::new();
    within(client.read_to_end(&mut heard)).await.unwrap();
    assert_eq!(heard, b"hello");
    let ended = bench.ended().await;
    assert_eq!(
        (ended.direction, ended.verdict, ended.reason),
        (Direction::Outbound, Verdict::Proxy, Reason::Rule)
    );
    assert_eq!(ended.client.unwrap().0, address);
    assert_eq!(ended.original.unwrap().0, upstream);
    assert_eq!(ended.upstream.unwrap().0, upstream);
    assert_eq!((ended.traffic.sent, ended.traffic.received), (5, 5));
    assert!(ended.fault.is_none());
    within(bench.instance.idle()).await;
}

#[tokio::test]
async fn an_inbound_dial_carries_the_real_client() {
    let bench = Bench::start(Entry::Inbound, LIMITS, Some(echo().await));
    let mut client = bench.connect().await;
    client.write_all(b"x").await.unwrap();
    within(client.read_exact(&mut [0])).await.unwrap();
    assert_eq!(*bench.handoffs.left.lock().unwrap(), [ClientAddr(client.local_addr().unwrap())]);
}

#[tokio::test]
async fn a_mapped_destination_is_dialled_as_ipv4() {
    let upstream = echo().await;
    let std::net::IpAddr::V4(v4) = upstream.ip() else { panic!("{upstream} is not IPv4") };
    let mapped = SocketAddr::new(v4.to_ipv6_mapped().into(), upstream.port());
    let bench = Bench::start(Entry::Outbound, LIMITS, Some(mapped));
    let mut client = bench.connect().await;
    client.write_all(b"x").await.unwrap();
    within(client.read_exact(&mut [0])).await.unwrap();
    drop(client);
    assert_eq!(bench.ended().await.original.unwrap().0, upstream);
}

#[tokio::test]
async fn a_connection_may_come_in_by_one_family_and_go_on_by_the_other() {
    let Ok(listener) = std::net::TcpListener::bind("[::1]:0") else { return };
    let bench = Bench::start(Entry::Outbound, LIMITS, Some(echo().await));
    let listening = bench.instance.serve(listener, Entry::Outbound).unwrap();
    let mut client = TcpStream::connect(listening.address()).await.unwrap();
    client.write_all(b"x").await.unwrap();
    within(client.read_exact(&mut [0])).await.unwrap();
}

#[tokio::test]
async fn accepted_sockets_send_small_pieces_at_once() {
    let bench = Bench::start(Entry::Outbound, LIMITS, Some(echo().await));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let watched = listener.try_clone().unwrap();
    let listening = bench.instance.serve(listener, Entry::Outbound).unwrap();
    let _client = std::net::TcpStream::connect(listening.address()).unwrap();
    // Not one await since it was served: the accept loop has not run.
    let (accepted, _) = watched.accept().unwrap();
    assert!(accepted.nodelay().unwrap(), "an accepted socket did not inherit TCP_NODELAY from its listener");
}

#[tokio::test]
async fn a_closed_listener_serves_its_backlog_and_leaves_connections_alone() {
    let mut pair = Pair::open(LIMITS).await;
    let address = pair.bench.listening.address();
    // Not one await between these connects and the close: the accept loop has not run when it is asked to end.
    let queued: Vec<_> = (0..16).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    let Bench { instance, listening, .. } = pair.bench;
    within(listening.close()).await;
    assert_eq!(instance.active(), 17);
    assert!(TcpStream::connect(address).await.is_err(), "the listener is still there");
    pass(&mut pair.client, &mut pair.upstream).await;
    drop(queued);
}

#[tokio::test]
async fn cutting_off_resets_what_is_still_open_and_makes_the_instance_idle() {
    let mut pair = Pair::open(LIMITS).await;
    pair.greet().await;
    assert_eq!(pair.bench.instance.active(), 1);
    pair.bench.instance.cut_off();
    within(pair.bench.instance.idle()).await;
    let error = within(pair.client.read(&mut [0; 8])).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let ended = pair.bench.ended().await;
    assert_eq!(ended.traffic.sent, 8, "bytes that moved are told even of a connection that was cut off");
    assert_eq!(ended.fault.unwrap().side, Side::Agent);
}

#[tokio::test]
async fn new_limits_hold_for_new_connections() {
    let bench = Bench::start(Entry::Outbound, LIMITS, Some(echo().await));
    bench.instance.set_limits(Limits { max_connections: 0, ..LIMITS });
    let mut client = bench.connect().await;
    assert!(within(client.read(&mut [0])).await.is_err());
    assert_eq!(bench.ended().await.fault.unwrap().doing, "admit connection");
}

#[tokio::test]
async fn connections_on_threads_of_their_own_carry_bytes_and_are_cut_off() {
    let threads = Threads::start(2).unwrap();
    let handoffs = Fixed { destination: Mutex::new(Some(echo().await)), ..Fixed::default() };
    let bench = Bench::on(threads.workers(), Entry::Outbound, LIMITS, handoffs);
    let mut clients = Vec::new();
    for number in 0..8 {
        let mut client = bench.connect().await;
        client.write_all(&[number]).await.unwrap();
        clients.push(client);
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(usize::from(within(client.read_u8()).await.unwrap()), number);
    }
    assert_eq!(bench.instance.active(), 8);
    bench.instance.cut_off();
    within(bench.instance.idle()).await;
    for client in &mut clients {
        let error = within(client.read_u8()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
    within(bench.listening.close()).await;
}

#[tokio::test]
async fn threads_that_end_reset_and_tell_every_connection() {
    let threads = Threads::start(2).unwrap();
    let handoffs = Fixed { destination: Mutex::new(Some(echo().await)), ..Fixed::default() };
    let bench = Bench::on(threads.workers(), Entry::Outbound, LIMITS, handoffs);
    let (mut one, mut two) = (bench.connect().await, bench.connect().await);
    for client in [&mut one, &mut two] {
        client.write_all(b"x").await.unwrap();
        within(client.read_u8()).await.unwrap();
    }
    drop(threads);
    for client in [&mut one, &mut two] {
        let error = within(client.read_u8()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
    assert_eq!(bench.all_ended(2).await.len(), 2);
}

#[test]
fn a_runtime_that_shuts_down_resets_and_tells_every_connection() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (bench, mut client) = runtime.block_on(async {
        let bench = Bench::start(Entry::Outbound, LIMITS, Some(echo().await));
        let mut client = bench.connect().await;
        client.write_all(b"x").await.unwrap();
        within(client.read_exact(&mut [0])).await.unwrap();
        (bench, client.into_std().unwrap())
    });
    drop(runtime);
    client.set_nonblocking(false).unwrap();
    let error = io::Read::read(&mut client, &mut [0]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(bench.seen.ended.lock().unwrap().len(), 1);
    assert_eq!(bench.instance.active(), 0);
}
