//! The close behind the last answer: nobody loses an answer to bytes that were still on their way.

use super::super::tunnel::Mesh;
use super::*;
use crate::model::Flags;

const UPGRADE: &str = "GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
const CONNECT: &str = "CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n";
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: b\r\n\r\n";
const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno";
const DECLINED: &str = "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno";

/// Whether the answer arrives whole, with its end in order, although bytes kept coming that nobody reads.
async fn ends_in_order(mut client: TcpStream) {
    let answer = until(&mut client, "\r\n\r\nno").await;
    assert!(answer.to_lowercase().contains("connection: close\r\n"), "{answer:?}");
    for _ in 0..8 {
        client.write_all(HIDDEN.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (more, ended) = rest(&mut client).await;
    assert_eq!(more, "");
    ended.unwrap();
}

#[tokio::test]
async fn bytes_behind_an_upgrade_that_is_declined_cost_nobody_the_answer() {
    for (request, answer) in [(UPGRADE, ANSWER), (CONNECT, DECLINED)] {
        let web = Web::start(Entry::Outbound).await;
        let (client, mut upstream, _) = web.ask(&format!("{request}{HIDDEN}")).await;
        upstream.write_all(answer.as_bytes()).await.unwrap();
        ends_in_order(client).await;
        assert_eq!(web.exchanges(1).await[0].flags, Flags::default());
        assert!(web.bench.ended().await.fault.is_none());
    }
}

#[tokio::test]
async fn bytes_behind_a_last_request_cost_nobody_its_answer() {
    let web = Web::start(Entry::Outbound).await;
    let (client, mut upstream, _) = web.ask("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    upstream.write_all(ANSWER.as_bytes()).await.unwrap();
    ends_in_order(client).await;
    web.exchanges(1).await;
    assert!(web.bench.ended().await.fault.is_none());
}

#[tokio::test]
async fn a_client_that_never_stops_is_not_listened_to_for_ever() {
    let web = Web::start(Entry::Outbound).await;
    let (mut client, mut upstream, _) = web.ask(UPGRADE).await;
    upstream.write_all(ANSWER.as_bytes()).await.unwrap();
    until(&mut client, "\r\n\r\nno").await;
    let piece = vec![b'a'; 64 << 10];
    within(async { while client.write_all(&piece).await.is_ok() {} }).await;
    web.bench.ended().await;

    // And whoever says nothing and does not close either is let go of.
    let web = Web::start(Entry::Outbound).await;
    let (mut client, mut upstream, _) = web.ask(UPGRADE).await;
    upstream.write_all(ANSWER.as_bytes()).await.unwrap();
    until(&mut client, "\r\n\r\nno").await;
    web.bench.ended().await;
}

#[tokio::test]
async fn bytes_behind_an_upgrade_that_is_declined_cost_nobody_the_answer_through_a_tunnel() {
    let mesh = Mesh::start();
    mesh.client.instance.set_http(looking());
    mesh.server.instance.set_http(looking());
    for (request, answer) in [(UPGRADE, ANSWER), (CONNECT, DECLINED)] {
        let app = mesh.app().await;
        let mut client = mesh.connect(app.local_addr().unwrap()).await;
        client.write_all(format!("{request}{HIDDEN}").as_bytes()).await.unwrap();
        let (mut served, _) = within(app.accept()).await.unwrap();
        let asked = head(&mut served).await;
        assert!(request.starts_with(asked.lines().next().unwrap()), "{asked:?}");
        served.write_all(answer.as_bytes()).await.unwrap();
        ends_in_order(client).await;
        for half in [&mesh.client, &mesh.server] {
            let ended = half.ended().await;
            assert!(ended.fault.is_none(), "{ended:?}");
            let told = half.seen.exchanged.lock().unwrap().pop().unwrap();
            assert_eq!((told.attempts, told.flags), (1, Flags::default()));
        }
        let again = tokio::time::timeout(Duration::from_millis(50), app.accept()).await;
        assert!(again.is_err(), "the request was sent a second time");
    }
}

#[tokio::test]
async fn a_request_whose_answer_was_begun_is_not_sent_again() {
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let web = Web::start(Entry::Outbound).await;
    let (mut client, mut upstream, _) = web.ask(get).await;
    upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    head(&mut client).await;
    client.write_all(get.as_bytes()).await.unwrap();
    head(&mut upstream).await;
    upstream.write_all(b"HTTP/1.1 200 O").await.unwrap();
    drop(upstream);
    assert!(head(&mut client).await.starts_with("HTTP/1.1 502 "));
    assert!(web.exchanges(2).await.iter().all(|told| told.attempts == 1));
    let again = tokio::time::timeout(Duration::from_millis(50), web.listener.accept()).await;
    assert!(again.is_err(), "the request was sent a second time");
}
