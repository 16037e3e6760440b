//! Requests and answers, their bodies, and the connections that carry them.

use super::*;
use crate::model::{Flag, Flags, Tier};

#[tokio::test]
async fn a_request_and_its_answer_arrive_as_they_were_sent_and_are_told() {
    let web = Web::start(Entry::Outbound).await;
    let request = "POST /a%2fb?c=d HTTP/1.1\r\nHost: shop\r\nX-Custom-CASE: 1\r\nUser-Agent: test\r\nContent-Length: 5\r\n\r\nhello";
    let (mut client, mut upstream, asked) = web.ask(request).await;
    assert_eq!(lines(&asked), lines(&request[..request.len() - 5]));
    assert_eq!(until(&mut upstream, "hello").await, "hello");
    let answer = "HTTP/1.1 201 Created\r\nX-Answer-Case: yes\r\nSet-Cookie: a\r\nSet-Cookie: b\r\ncontent-length: 3\r\n\r\nyes";
    upstream.write_all(answer.as_bytes()).await.unwrap();
    assert_eq!(until(&mut client, "\r\n\r\nyes").await, answer);
    let told = web.exchanges(1).await.pop().unwrap();
    assert_eq!((told.request.method.as_str(), &*told.request.target), ("POST", "/a%2fb?c=d"));
    assert_eq!(told.request.authority.as_deref(), Some("shop"));
    assert_eq!(told.answer.unwrap().status, 201);
    assert_eq!((told.request_bytes, told.answer_bytes, told.attempts), (5, 3, 1));
    assert_eq!(told.flags, Flags::default());
    assert!(told.upstream_duration.unwrap() <= told.duration);
    assert_eq!(told.client.0, client.local_addr().unwrap());
    drop(client);
    let ended = web.bench.ended().await;
    assert_eq!((ended.tier, ended.requests), (Tier::Http, 1));
    assert_eq!(ended.traffic.received, answer.len() as u64);
    assert!(ended.fault.is_none(), "{:?}", ended.fault);
}

#[tokio::test]
async fn a_connection_carries_one_request_after_the_other_at_both_ends() {
    let web = Web::start(Entry::Outbound).await;
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let (mut client, mut upstream, _) = web.ask(get).await;
    for number in 0..5 {
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{number}");
        upstream.write_all(answer.as_bytes()).await.unwrap();
        assert_eq!(until(&mut client, &format!("\r\n\r\n{number}")).await, answer);
        client.write_all(get.as_bytes()).await.unwrap();
        head(&mut upstream).await;
    }
    upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    head(&mut client).await;
    drop(client);
    assert_eq!(web.bench.ended().await.requests, 6);
    // Another client's request finds the connection that is left.
    let mut other = web.bench.connect().await;
    other.write_all(get.as_bytes()).await.unwrap();
    head(&mut upstream).await;
    upstream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    assert!(head(&mut other).await.starts_with("HTTP/1.1 204"));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let web = Web::start(Entry::Outbound).await;
    let requests = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n";
    let (mut client, mut upstream, first) = web.ask(requests).await;
    assert!(first.starts_with("GET /1 "));
    upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1").await.unwrap();
    assert!(head(&mut upstream).await.starts_with("GET /2 "));
    upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n2").await.unwrap();
    assert!(until(&mut client, "\r\n\r\n1").await.starts_with("HTTP/1.1 200"));
    assert!(until(&mut client, "\r\n\r\n2").await.starts_with("HTTP/1.1 200"));
    web.exchanges(2).await;
}

#[tokio::test]
async fn an_inbound_connection_has_an_upstream_of_its_own_that_shows_the_real_client() {
    let web = Web::start(Entry::Inbound).await;
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let (mut one, mut first, _) = web.ask(get).await;
    first.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    head(&mut one).await;
    let (two, _second, _) = web.ask(get).await;
    let clients = [&one, &two].map(|client| ClientAddr(client.local_addr().unwrap()));
    assert_eq!(*web.bench.handoffs.left.lock().unwrap(), clients);
    drop((one, first));
    two.set_zero_linger().unwrap();
    drop(two);
    let told = web.exchanges(2).await;
    assert!(told[1].flags.has(Flag::DownstreamGone));
}

#[tokio::test]
async fn an_upstream_that_cannot_be_reached_is_answered_for() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let bench = Bench::start(Entry::Outbound, LIMITS, Some(nobody));
    bench.instance.set_http(looking());
    let mut client = bench.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(head(&mut client).await.starts_with("HTTP/1.1 503"));
    eventually(|| bench.seen.exchanged.lock().unwrap().len() == 1).await;
    assert!(bench.seen.exchanged.lock().unwrap()[0].flags.has(Flag::UpstreamFailure));
}
