//! Who speaks first decides, and nobody waits.

use super::*;
use crate::model::{Protocol, Tier};

#[tokio::test]
async fn a_server_that_speaks_first_is_relayed_at_once_and_remembered() {
    let web = Web::start(Entry::Outbound).await;
    let mut client = web.bench.connect().await;
    let mut upstream = web.upstream().await;
    upstream.write_all(b"220 ready\r\n").await.unwrap();
    assert_eq!(until(&mut client, "ready\r\n").await, "220 ready\r\n");
    pass(&mut client, &mut upstream).await;
    pass(&mut upstream, &mut client).await;
    drop((client, upstream));
    let ended = web.bench.ended().await;
    assert_eq!((ended.tier, ended.protocol), (Tier::Relay, Some(Protocol::Opaque)));
    assert_eq!((ended.traffic.sent, ended.traffic.received), (8, 19));
    // From now on nothing is looked at: what looks like a request passes as it is.
    let mut client = web.bench.connect().await;
    let mut upstream = web.upstream().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nX: \n\n").await.unwrap();
    assert_eq!(until(&mut upstream, "\n\n").await, "GET / HTTP/1.1\r\nhost: a\r\nX: \n\n");
}

#[tokio::test]
async fn a_request_in_pieces_is_found_and_what_never_becomes_one_is_relayed() {
    let web = Web::start(Entry::Outbound).await;
    let mut client = web.bench.connect().await;
    let mut upstream = web.upstream().await;
    for piece in ["G", "ET / HT", "TP/1.1\r\nHost: a\r\n", "\r\n"] {
        client.write_all(piece.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(head(&mut upstream).await.starts_with("GET / HTTP/1.1\r\nHost: a\r\n"));
    drop((client, upstream));
    web.exchanges(1).await;
    web.bench.ended().await;

    let other = Web::start(Entry::Outbound).await;
    let mut client = other.bench.connect().await;
    let mut upstream = other.upstream().await;
    client.write_all(b"GET f").await.unwrap();
    assert_eq!(until(&mut upstream, "GET f").await, "GET f");
    client.write_all(b"oo\r\n").await.unwrap();
    assert_eq!(until(&mut upstream, "\n").await, "oo\r\n");
    upstream.write_all(b"bar").await.unwrap();
    assert_eq!(until(&mut client, "bar").await, "bar");
    drop((client, upstream));
    assert_eq!(other.bench.ended().await.protocol, Some(Protocol::Opaque));
}

#[tokio::test]
async fn a_declared_port_that_gets_no_http_is_refused() {
    for said in [
        "PING\r\n",
        " GET /x HTTP/1.1\r\n",
        "GE:T /x HTTP/1.1\r\n",
        "GET( /x HTTP/1.1\r\n",
        "\x16\x03\x01\0\x01\x01",
    ] {
        let mut terms = looking();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        terms.ports.insert(address.port(), Protocol::Http1);
        let bench = Bench::start(Entry::Inbound, LIMITS, Some(address));
        bench.instance.set_http(terms);
        let mut client = bench.connect().await;
        client.write_all(said.as_bytes()).await.unwrap();
        assert!(within(client.read_u8()).await.is_err(), "{said:?}");
        let ended = bench.ended().await;
        assert!(ended.fault.unwrap().to_string().contains("expected HTTP"), "{said:?}");
        assert!(ended.upstream.is_none(), "{said:?}: the app never heard of it");
    }
}
