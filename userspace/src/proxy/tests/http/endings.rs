//! How requests end that do not end well, and how connections end.

use super::*;
use crate::model::{Direction, Flag, Protocol, Side};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn an_answer_that_was_cut_short_never_ends_in_order() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let web = Web::start(Entry::Outbound).await;
        let (mut client, mut upstream, _) = web.ask(GET).await;
        upstream.write_all(answer.as_bytes()).await.unwrap();
        until(&mut client, if answer.contains("chunked") { "hello\r\n" } else { "hello" }).await;
        drop(upstream);
        let (more, ended) = rest(&mut client).await;
        assert_eq!(more, "");
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionReset, "{answer:?}");
        let told = web.exchanges(1).await.pop().unwrap();
        assert!(told.flags.has(Flag::UpstreamGone), "{}", told.flags);
        assert_eq!((told.answer_bytes, told.fault.unwrap().side), (5, Side::Peer));
    }
}

#[tokio::test]
async fn an_upstream_that_ends_without_an_answer_is_answered_for() {
    let web = Web::start(Entry::Outbound).await;
    let (mut client, upstream, _) = web.ask(GET).await;
    drop(upstream);
    assert!(until(&mut client, "its answer").await.starts_with("HTTP/1.1 502 "));
    let told = web.exchanges(1).await.pop().unwrap();
    assert!(told.flags.has(Flag::UpstreamGone), "{}", told.flags);
    // The client's connection goes on.
    client.write_all(GET.as_bytes()).await.unwrap();
    let mut another = web.upstream().await;
    head(&mut another).await;
    another.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    assert!(head(&mut client).await.starts_with("HTTP/1.1 204"));
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_not_passed_on() {
    for answer in [
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5, 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nX: a\r\n folded\r\n\r\n",
    ] {
        let web = Web::start(Entry::Outbound).await;
        let (mut client, mut upstream, _) = web.ask(GET).await;
        upstream.write_all(answer.as_bytes()).await.unwrap();
        let head = head(&mut client).await;
        assert!(head.starts_with("HTTP/1.1 502 "), "{answer:?}: {head:?}");
        assert!(web.exchanges(1).await[0].flags.has(Flag::UpstreamProtocol));
    }
}

#[tokio::test]
async fn an_answer_without_end_before_its_head_has_ended_is_not_waited_for() {
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    for (begun, more, pause) in [
        ("", hint.repeat(50), Duration::ZERO),
        ("", hint.to_owned(), Duration::from_millis(50)),
        ("HTTP/1.1 200 OK\r\n", "X: y\r\n".to_owned(), Duration::from_millis(50)),
        ("HTTP/1.1 200 OK\r\n", "X: y\r\n".repeat(1000), Duration::ZERO),
        ("HT", String::new(), Duration::from_millis(50)),
    ] {
        for inbound in [false, true] {
            let web = slow(if inbound { Direction::Inbound } else { Direction::Outbound }, None).await;
            let (mut client, mut upstream, _) = web.ask(GET).await;
            upstream.write_all(begun.as_bytes()).await.unwrap();
            let more = more.clone();
            let endless = tokio::spawn(async move {
                while upstream.write_all(more.as_bytes()).await.is_ok() {
                    tokio::time::sleep(pause).await;
                }
            });
            let answer = until(&mut client, "passed on").await;
            assert!(answer.contains("HTTP/1.1 502 "), "{begun:?}: {answer:?}");
            let told = web.exchanges(1).await.pop().unwrap();
            assert!(told.flags.has(Flag::UpstreamProtocol), "{begun:?}: {}", told.flags);
            // The upstream's connection is closed, and the client's goes on.
            if begun != "HT" {
                within(endless).await.unwrap();
            }
            client.write_all(GET.as_bytes()).await.unwrap();
            let mut another = web.upstream().await;
            head(&mut another).await;
            another.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            assert!(head(&mut client).await.starts_with("HTTP/1.1 204"));
        }
    }
}

#[tokio::test]
async fn an_upstream_may_think_behind_an_interim_answer() {
    let web = slow(Direction::Outbound, None).await;
    let (mut client, mut upstream, _) = web.ask(GET).await;
    upstream.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").await.unwrap();
    tokio::time::sleep(HEADER_TIMEOUT * 2).await;
    upstream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    assert!(head(&mut client).await.starts_with("HTTP/1.1 204"));
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_request_with_it() {
    let web = Web::start(Entry::Outbound).await;
    let (client, mut upstream, _) = web.ask(GET).await;
    client.set_zero_linger().unwrap();
    drop(client);
    let (_, _) = rest(&mut upstream).await;
    let told = web.exchanges(1).await.pop().unwrap();
    assert!(told.flags.has(Flag::DownstreamGone) && told.answer.is_none());
    web.bench.ended().await;
}

#[tokio::test]
async fn a_client_that_has_said_all_it_has_to_say_is_still_answered() {
    let web = Web::start(Entry::Outbound).await;
    let (mut client, mut upstream, _) = web.ask(GET).await;
    client.shutdown().await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await.unwrap();
    let (answer, ended) = rest(&mut client).await;
    ended.unwrap();
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer:?}");
    assert!(web.bench.ended().await.fault.is_none());
}

#[tokio::test]
async fn a_pooled_connection_that_died_is_replaced_without_the_client_noticing() {
    let web = Web::start(Entry::Outbound).await;
    let (mut client, mut upstream, _) = web.ask(GET).await;
    upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    head(&mut client).await;
    // It dies when it is asked again: nothing told of it before.
    client.write_all(GET.as_bytes()).await.unwrap();
    head(&mut upstream).await;
    drop(upstream);
    let mut another = web.upstream().await;
    head(&mut another).await;
    another.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    assert!(head(&mut client).await.starts_with("HTTP/1.1 204"));
    web.exchanges(2).await;
}

#[tokio::test]
async fn a_head_that_does_not_end_is_not_waited_for() {
    for (direction, begun) in [
        (Direction::Outbound, "GET / HTTP/1.1\r\nHost: a\r\nX: "),
        (Direction::Inbound, "GET / HTTP/1.1\r\n"),
        (Direction::Outbound, "GET / HT"),
        (Direction::Outbound, "G"),
        (Direction::Inbound, "PO"),
    ] {
        for port in [None, Some(Protocol::Http1)] {
            let web = slow(direction, port).await;
            let mut client = web.bench.connect().await;
            client.write_all(begun.as_bytes()).await.unwrap();
            too_late(&web, client, begun).await;
        }
    }
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_not_waited_for() {
    for direction in [Direction::Outbound, Direction::Inbound] {
        let web = slow(direction, None).await;
        let client = web.bench.connect().await;
        client.set_nodelay(true).unwrap();
        let (reading, mut writing) = client.into_split();
        let drip = tokio::spawn(async move {
            for byte in b"GET / HTTP/1.1\r\nHost: a\r\nX: ".iter().cycle() {
                tokio::time::sleep(Duration::from_millis(110)).await;
                if writing.write_all(&[*byte]).await.is_err() {
                    return writing;
                }
            }
            writing
        });
        let begun = std::time::Instant::now();
        let mut reading = reading;
        let mut answer = [0; 12];
        within(reading.read_exact(&mut answer)).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 408");
        assert!(begun.elapsed() < HEADER_TIMEOUT + Duration::from_secs(1), "{:?}", begun.elapsed());
        let fault = web.bench.ended().await.fault.unwrap();
        assert!(fault.to_string().contains("http.header-timeout"), "{fault}");
        drip.abort();
    }
}

#[tokio::test]
async fn a_head_behind_a_request_is_waited_for_when_that_is_answered() {
    let web = slow(Direction::Outbound, None).await;
    let (mut client, mut upstream, _) = web.ask(&format!("{GET}GET /next HT")).await;
    tokio::time::sleep(HEADER_TIMEOUT * 2).await;
    upstream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    assert!(head(&mut client).await.starts_with("HTTP/1.1 204"));
    too_late(&web, client, "behind a request").await;
}

const HEADER_TIMEOUT: Duration = Duration::from_millis(300);

/// Before an upstream whose port is declared to speak `port`, if anything.
async fn slow(direction: Direction, port: Option<Protocol>) -> Web {
    let entry = match direction {
        Direction::Outbound => Entry::Outbound,
        Direction::Inbound => Entry::Inbound,
    };
    let web = Web::start(entry).await;
    let mut terms = HttpTerms { header_timeout: HEADER_TIMEOUT, ..looking() };
    terms.ports = port.map(|port| (web.listener.local_addr().unwrap().port(), port)).into_iter().collect();
    web.bench.instance.set_http(terms);
    web
}

/// The client is told that it was too slow, and so is whoever watches.
async fn too_late(web: &Web, mut client: TcpStream, what: &str) {
    let (answer, ended) = rest(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && ended.is_ok(), "{what:?}: {answer:?}, {ended:?}");
    drop(client);
    let fault = web.bench.ended().await.fault.unwrap();
    assert!(fault.to_string().contains("http.header-timeout"), "{what:?}: {fault}");
}

#[tokio::test]
async fn a_connection_without_requests_is_closed_in_order() {
    let terms = HttpTerms { idle_timeout: Duration::from_millis(80), ..looking() };
    let web = Web::with(Entry::Outbound, terms).await;
    let (mut client, mut upstream, _) = web.ask(GET).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    let (answer, ended) = rest(&mut client).await;
    ended.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "a request that takes long is waited for: {answer:?}");
    assert!(web.bench.ended().await.fault.is_none());
}

#[tokio::test]
async fn a_drain_lets_requests_end_and_connections_with_them() {
    let web = Web::start(Entry::Outbound).await;
    let (mut client, mut upstream, _) = web.ask(GET).await;
    web.bench.instance.drain();
    tokio::time::sleep(Duration::from_millis(20)).await;
    upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
    let (answer, ended) = rest(&mut client).await;
    ended.unwrap();
    assert!(answer.to_lowercase().contains("connection: close") && answer.ends_with("ok"), "{answer:?}");
    within(web.bench.instance.idle()).await;
    assert_eq!(rest(&mut upstream).await.0, "", "the upstream's connection is not kept either");
}

#[tokio::test]
async fn what_is_open_at_the_end_of_a_drain_is_cut_off() {
    let web = Web::start(Entry::Outbound).await;
    let (mut client, mut upstream, _) = web.ask(GET).await;
    web.bench.instance.cut_off();
    within(web.bench.instance.idle()).await;
    assert!(within(client.read_u8()).await.is_err());
    assert!(within(upstream.read_u8()).await.is_err());
    let ended = web.bench.ended().await;
    assert_eq!((ended.requests, ended.fault.unwrap().side), (1, Side::Agent));
    web.exchanges(1).await;
}

#[tokio::test]
async fn more_requests_than_allowed_are_answered_503() {
    let terms = HttpTerms { max_requests: 1, ..looking() };
    let web = Web::with(Entry::Outbound, terms).await;
    let (_client, _upstream, _) = web.ask(GET).await;
    let mut other = web.bench.connect().await;
    other.write_all(GET.as_bytes()).await.unwrap();
    assert!(head(&mut other).await.starts_with("HTTP/1.1 503 "));
    assert!(web.exchanges(1).await[0].flags.has(Flag::Overflow));
}

#[tokio::test]
async fn a_slow_reader_makes_us_hold_little() {
    let web = Web::start(Entry::Outbound).await;
    let (_client, mut upstream, _) = web.ask(GET).await;
    let length = 64 << 20;
    upstream
        .write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let piece = vec![b'a'; 1 << 20];
    let mut sent = 0;
    while tokio::time::timeout(Duration::from_millis(300), upstream.write_all(&piece)).await.is_ok() {
        sent += piece.len();
    }
    // Sockets of loopback hold some megabytes at either end; we hold less than one.
    assert!(sent < 24 << 20, "{sent} bytes were taken from an upstream whose client reads nothing");
}
