//! What waits, and what becomes of it without a collector and with one that answers what it is told to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::time::Instant;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

use super::super::samples::asked;
use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn settings(endpoint: &str, protocol: ExportProtocol) -> ExportSettings {
    let mut headers = HeaderMap::new();
    headers.insert("x-token", http::HeaderValue::from_static("7"));
    ExportSettings {
        endpoint: endpoint.parse().unwrap(),
        protocol,
        headers,
        resource: Vec::new(),
        authorities: None,
    }
}

fn exporter(endpoint: &str, protocol: ExportProtocol) -> Exporter {
    Exporter::start(&settings(endpoint, protocol), &Own::named("web")).unwrap()
}

/// A collector over HTTP that gives these answers, one after the other, and hands on what it was sent.
fn collector(answers: &'static [&'static str]) -> (String, Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/base/", listener.local_addr().unwrap());
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut answers = answers.iter();
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            loop {
                let mut head = String::new();
                while stream.read_line(&mut head).unwrap() > 2 {}
                if head.is_empty() {
                    break;
                }
                let head = head.to_ascii_lowercase();
                let length = head.split("content-length: ").nth(1).unwrap().split('\r').next().unwrap();
                let mut body = vec![0; length.parse().unwrap()];
                stream.read_exact(&mut body).unwrap();
                let Some(answer) = answers.next() else { return };
                tell.send((head, body)).unwrap();
                write!(stream.get_mut(), "HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n").unwrap();
            }
        }
    });
    (endpoint, told)
}

#[test]
fn spans_are_posted_as_protobuf_with_the_configured_headers() {
    let (endpoint, told) = collector(&["200 OK"]);
    let exporter = exporter(&endpoint, ExportProtocol::Http);
    exporter.span(Arc::new(asked()));
    assert!(exporter.close(PATIENCE));
    let (head, body) = told.recv_timeout(PATIENCE).unwrap();
    assert!(head.starts_with("post /base/v1/traces http/1.1\r\n"), "{head}");
    assert!(head.contains("x-token: 7\r\n") && head.contains("content-type: application/x-protobuf\r\n"));
    let request = ExportTraceServiceRequest::decode(&*body).unwrap();
    assert_eq!(request.resource_spans[0].scope_spans[0].spans[0].name, "GET shop/db/1");
    assert_eq!(exporter.exported(), Exported { spans: 1, ..Exported::default() });
}

#[test]
fn a_collector_that_asks_for_patience_is_asked_again_and_one_that_refuses_is_not() {
    let (endpoint, told) = collector(&["503 Busy\r\nRetry-After: 0", "200 OK", "400 Bad"]);
    let exporter = exporter(&endpoint, ExportProtocol::Http);
    exporter.span(Arc::new(asked()));
    for _ in 0..2 {
        told.recv_timeout(PATIENCE).unwrap();
    }
    let deadline = Instant::now() + PATIENCE;
    while exporter.exported().spans == 0 && Instant::now() < deadline {
        std::thread::yield_now();
    }
    exporter.span(Arc::new(asked()));
    told.recv_timeout(PATIENCE).unwrap();
    assert!(exporter.close(PATIENCE));
    let expected = Exported { spans: 1, spans_dropped: 1, failures: 2, ..Exported::default() };
    assert_eq!(exporter.exported(), expected);
}

#[test]
fn without_a_collector_nobody_waits_and_what_has_no_room_is_counted() {
    for protocol in [ExportProtocol::Grpc, ExportProtocol::Http] {
        // Nobody listens at port 1.
        let exporter = exporter("http://127.0.0.1:1", protocol);
        let exchange = Arc::new(asked());
        let since = Instant::now();
        let many = 20_000;
        for _ in 0..many {
            exporter.span(Arc::clone(&exchange));
        }
        assert!(since.elapsed() < PATIENCE, "it waits");
        {
            let waiting = exporter.shared.lock();
            assert!(waiting.spans.len() <= ROOM && waiting.bytes <= MOST);
        }
        assert!(exporter.exported().spans_dropped >= (many - ROOM - BATCH) as u64);
        assert!(exporter.close(PATIENCE), "it does not end");
        let exported = exporter.exported();
        assert_eq!((exported.spans, exported.spans_dropped), (0, many as u64), "{exported:?}");
        assert!(exported.failures > 0);
    }
}

#[test]
fn what_waits_is_bounded_in_bytes_too() {
    let exporter = exporter("http://127.0.0.1:1", ExportProtocol::Http);
    let mut exchange = asked();
    exchange.request.target = "x".repeat(60_000).into();
    let exchange = Arc::new(exchange);
    for _ in 0..1000 {
        exporter.span(Arc::clone(&exchange));
    }
    assert!(exporter.shared.lock().bytes <= MOST);
    assert!(exporter.exported().spans_dropped > 500);
}

#[test]
fn a_collector_that_says_nothing_does_not_keep_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let exporter = exporter(&endpoint, ExportProtocol::Http);
    exporter.span(Arc::new(asked()));
    let since = Instant::now();
    assert!(!exporter.close(Duration::from_millis(200)));
    assert!(since.elapsed() < Duration::from_secs(5));
}

#[test]
fn authorities_that_cannot_be_read_are_named_before_anything_is_sent() {
    let mut settings = settings("https://collector:4317", ExportProtocol::Grpc);
    settings.authorities = Some("/nowhere/ca.pem".into());
    let error = Exporter::start(&settings, &Own::named("web")).unwrap_err();
    assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
}
