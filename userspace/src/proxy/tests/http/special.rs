//! What is not one request and one answer of HTTP/1.1: older clients, expectations, upgrades, CONNECT, trailers.

use super::*;
use crate::model::Flags;

#[tokio::test]
async fn a_client_of_http_1_0_is_answered_in_its_version_and_the_connection_closes() {
    let web = Web::start(Entry::Outbound).await;
    let (mut client, mut upstream, asked) = web.ask("GET /old HTTP/1.0\r\n\r\n").await;
    assert_eq!(lines(&asked), ["GET /old HTTP/1.0"]);
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    upstream.write_all(chunked.as_bytes()).await.unwrap();
    let (answer, ended) = rest(&mut client).await;
    ended.unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("\r\n\r\nhello"), "{answer:?}");
}

#[tokio::test]
async fn trailers_pass_both_ways_if_they_are_announced() {
    let web = Web::start(Entry::Outbound).await;
    let request = "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n";
    let (mut client, mut upstream, head) = web.ask(request).await;
    assert!(head.contains("TE: trailers\r\n"), "{head:?}");
    let body = until(&mut upstream, "\r\n\r\n").await.to_lowercase();
    assert_eq!(body, "5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n");
    upstream
        .write_all(b"HTTP/1.1 200 OK\r\nTrailer: X-Time\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Time: 2\r\n\r\n")
        .await
        .unwrap();
    let answer = until(&mut client, "2\r\n\r\n").await.to_lowercase();
    assert!(answer.ends_with("2\r\nok\r\n0\r\nx-time: 2\r\n\r\n"), "{answer:?}");
}

const EXPECTING: &str = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";

#[tokio::test]
async fn a_body_is_sent_when_the_upstream_asks_for_it() {
    let web = Web::start(Entry::Outbound).await;
    let (mut client, mut upstream, head_sent) = web.ask(EXPECTING).await;
    assert!(head_sent.contains("Expect: 100-continue"), "{head_sent:?}");
    let waiting = tokio::time::timeout(Duration::from_millis(50), client.read_u8()).await;
    assert!(waiting.is_err(), "the client was told to go on before the upstream said so");
    upstream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
    assert_eq!(head(&mut client).await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"hello").await.unwrap();
    assert_eq!(until(&mut upstream, "hello").await, "hello");
    upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    assert!(head(&mut client).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_body_that_the_upstream_does_not_want_is_never_asked_for() {
    let web = Web::start(Entry::Outbound).await;
    let (mut client, mut upstream, _) = web.ask(EXPECTING).await;
    upstream.write_all(b"HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    assert!(head(&mut client).await.starts_with("HTTP/1.1 417"));
    // Nobody knows whether the upstream still waits for the body: the connection is not used again.
    assert_eq!(rest(&mut upstream).await.0, "");
    let told = web.exchanges(1).await.pop().unwrap();
    assert_eq!((told.request_bytes, told.flags), (0, Flags::default()));
}

const UPGRADE: &str =
    "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";

#[tokio::test]
async fn an_upgrade_carries_bytes_both_ways_once_it_is_agreed_on() {
    let web = Web::start(Entry::Outbound).await;
    let (mut client, mut upstream, asked) = web.ask(&format!("{UPGRADE}early")).await;
    assert!(asked.contains("Upgrade: websocket\r\n"), "{asked:?}");
    assert!(asked.to_lowercase().contains("connection: upgrade\r\n"), "{asked:?}");
    let premature = tokio::time::timeout(Duration::from_millis(50), upstream.read_u8()).await;
    assert!(premature.is_err(), "a byte went to an upstream that had not agreed");
    upstream
        .write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst",
        )
        .await
        .unwrap();
    assert_eq!(until(&mut upstream, "early").await, "early");
    let answer = until(&mut client, "first").await;
    assert!(answer.starts_with("HTTP/1.1 101 ") && answer.contains("Upgrade: websocket"), "{answer:?}");
    pass(&mut client, &mut upstream).await;
    pass(&mut upstream, &mut client).await;
    drop(client);
    assert_eq!(rest(&mut upstream).await.0, "");
    drop(upstream);
    let told = web.exchanges(1).await.pop().unwrap();
    assert_eq!((told.answer.unwrap().status.as_u16(), told.flags), (101, Flags::default()));
    assert!(web.bench.ended().await.fault.is_none());
}

#[tokio::test]
async fn what_a_request_became_is_told_when_it_ends_with_what_went_through_it() {
    let switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let established = "HTTP/1.1 200 Connection established\r\n\r\n";
    let connect = "CONNECT db.shop:5432 HTTP/1.1\r\nHost: db.shop:5432\r\n\r\n";
    for (request, answer) in [(UPGRADE, switching), (connect, established)] {
        for cut in [false, true] {
            let web = Web::start(Entry::Outbound).await;
            let (mut client, mut upstream, _) = web.ask(&format!("{request}early")).await;
            upstream.write_all(format!("{answer}first").as_bytes()).await.unwrap();
            assert_eq!(until(&mut upstream, "early").await, "early");
            until(&mut client, "first").await;
            pass(&mut client, &mut upstream).await;
            pass(&mut client, &mut upstream).await;
            pass(&mut upstream, &mut client).await;
            tokio::time::sleep(Duration::from_millis(30)).await;
            assert!(web.bench.seen.exchanged.lock().unwrap().is_empty(), "it was told before its end");
            if cut {
                upstream.set_zero_linger().unwrap();
            }
            drop(upstream);
            let (more, ended) = rest(&mut client).await;
            assert_eq!((more.as_str(), ended.is_err()), ("", cut));
            drop(client);
            let told = web.exchanges(1).await.pop().unwrap();
            assert_eq!((told.request_bytes, told.answer_bytes), (5 + 16, 5 + 8), "{told:?}");
            assert!(told.duration >= Duration::from_millis(30), "{told:?}");
            assert_eq!(told.flags.to_string(), if cut { "UC" } else { "-" });
            assert_eq!(web.bench.ended().await.fault.is_some(), cut);
        }
    }
}

#[tokio::test]
async fn what_a_request_became_is_told_too_when_it_is_cut_off() {
    let web = Web::start(Entry::Outbound).await;
    let (mut client, mut upstream, _) =
        web.ask("CONNECT db.shop:5432 HTTP/1.1\r\nHost: db.shop:5432\r\n\r\n").await;
    upstream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
    head(&mut client).await;
    pass(&mut client, &mut upstream).await;
    web.bench.instance.cut_off();
    within(web.bench.instance.idle()).await;
    assert_eq!(web.exchanges(1).await[0].request_bytes, 8);
    web.bench.ended().await;
}

#[tokio::test]
async fn what_comes_behind_an_upgrade_that_is_declined_is_no_request() {
    let web = Web::start(Entry::Outbound).await;
    let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    let (mut client, mut upstream, _) = web.ask(&format!("{UPGRADE}{hidden}")).await;
    upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
    let (answer, _) = rest(&mut client).await;
    assert!(answer.to_lowercase().contains("connection: close\r\n"), "{answer:?}");
    assert!(answer.ends_with("\r\n\r\nno"), "{answer:?}");
    web.exchanges(1).await;
    web.bench.instance.drain();
    assert_eq!(rest(&mut upstream).await.0, "");
}

#[tokio::test]
async fn connect_carries_bytes_both_ways() {
    let web = Web::start(Entry::Outbound).await;
    let (mut client, mut upstream, asked) =
        web.ask("CONNECT db.shop:5432 HTTP/1.1\r\nHost: db.shop:5432\r\n\r\n").await;
    assert!(asked.starts_with("CONNECT db.shop:5432 HTTP/1.1\r\n"), "{asked:?}");
    upstream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
    assert_eq!(head(&mut client).await.lines().next(), Some("HTTP/1.1 200 Connection established"));
    pass(&mut client, &mut upstream).await;
    pass(&mut upstream, &mut client).await;
}

#[tokio::test]
async fn an_upstream_that_switches_unasked_is_not_believed() {
    let web = Web::start(Entry::Outbound).await;
    let (mut client, mut upstream, _) = web.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    upstream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nraw").await.unwrap();
    let answer = until(&mut client, "passed on").await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer:?}");
}
