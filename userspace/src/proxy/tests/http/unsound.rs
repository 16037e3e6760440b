//! What two parsers could take differently is answered with 400 and never forwarded.

use super::*;
use crate::model::Side;

/// Heads that are refused whole.
const HEADS: [&str; 20] = [
    "GET /x HTTP/2.0\r\nHost: a\r\n\r\n",
    "GET /x\r\n",
    "GET /x http/1.1\r\nHost: a\r\n\r\n",
    "GET /x \r\n",
    "GET /x\0b HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /x\rb HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n folded\r\n\r\n",
    "GET / HTTP/1.1\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "GET / HTTP/1.1\r\n\r\n",
    "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: content-length\r\n\r\n",
];

#[tokio::test]
async fn what_is_unsound_is_answered_with_400_and_the_connection_is_closed() {
    for request in HEADS {
        let web = Web::start(Entry::Outbound).await;
        let mut client = web.bench.connect().await;
        let mut upstream = web.upstream().await;
        client.write_all(request.as_bytes()).await.unwrap();
        let (answer, _) = rest(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{request:?}: {answer:?}");
        drop(client);
        let (forwarded, _) = rest(&mut upstream).await;
        assert_eq!(forwarded, "", "{request:?}");
    }
}

#[tokio::test]
async fn what_was_asked_before_is_answered_and_what_comes_behind_is_not_forwarded() {
    let web = Web::start(Entry::Outbound).await;
    let requests = "GET /good HTTP/1.1\r\nHost: a\r\n\r\nGET /bad HTTP/1.1\r\nHost: a\nX: y\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    let (mut client, mut upstream, asked) = web.ask(requests).await;
    assert!(asked.starts_with("GET /good "));
    upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    let (answers, _) = rest(&mut client).await;
    let statuses: Vec<_> = answers.split("\r\n").filter(|line| line.starts_with("HTTP/")).collect();
    assert_eq!(statuses, ["HTTP/1.1 200 OK", "HTTP/1.1 400 Bad Request"]);
    drop(client);
    let ended = web.bench.ended().await;
    let fault = ended.fault.unwrap();
    assert!(fault.side == Side::Workload && fault.to_string().contains("CR LF"), "{fault}");
    // What was no request is told with its connection.
    web.exchanges(1).await;
}

#[tokio::test]
async fn a_chunked_body_that_is_not_framed_soundly_never_ends_in_order() {
    let web = Web::start(Entry::Outbound).await;
    let request =
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3\nabc\r\n0\r\n\r\n";
    let (mut client, mut upstream, _) = web.ask(request).await;
    let (body, _) = rest(&mut upstream).await;
    assert_eq!(body, "5\r\nhello\r\n");
    let (answer, _) = rest(&mut client).await;
    assert!(!answer.contains(" 200 "), "{answer}");
    web.exchanges(1).await;
}
