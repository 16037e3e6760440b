//! What waits, and what becomes of it without a collector and with one that answers what it is told to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::time::Instant;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

use super::super::line::Event;
use super::super::samples::{asked, relayed};
use super::super::workload::Own;
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
    Exporter::start(&settings(endpoint, protocol)).unwrap()
}

fn teller(name: &str) -> Arc<Teller> {
    Arc::new(Teller::new(Own::named(name)))
}

/// Spans that were sent, that were not, and attempts that failed.
fn exported(teller: &Teller) -> (u64, u64, u64) {
    let (sent, dropped) = teller.spans.read();
    (sent, dropped, teller.failures())
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
    let (exporter, teller) = (exporter(&endpoint, ExportProtocol::Http), teller("web"));
    exporter.span(&teller, Arc::new(asked()));
    assert!(exporter.close(PATIENCE));
    let (head, body) = told.recv_timeout(PATIENCE).unwrap();
    assert!(head.starts_with("post /base/v1/traces http/1.1\r\n"), "{head}");
    assert!(head.contains("x-token: 7\r\n") && head.contains("content-type: application/x-protobuf\r\n"));
    let request = ExportTraceServiceRequest::decode(&*body).unwrap();
    assert_eq!(request.resource_spans[0].scope_spans[0].spans[0].name, "GET shop/db/1");
    assert_eq!(exported(&teller), (1, 0, 0));
}

#[test]
fn what_several_workloads_left_is_one_message_with_a_resource_for_each() {
    let (endpoint, told) = collector(&["200 OK"]);
    let exporter = exporter(&endpoint, ExportProtocol::Http);
    let (web, db) = (teller("shop/web-1"), teller("shop/db-1"));
    for teller in [&web, &db, &web] {
        exporter.span(teller, Arc::new(asked()));
    }
    assert!(exporter.close(PATIENCE));
    let (_, body) = told.recv_timeout(PATIENCE).unwrap();
    let request = ExportTraceServiceRequest::decode(&*body).unwrap();
    let told: Vec<(Option<String>, usize)> = request
        .resource_spans
        .iter()
        .map(|of| {
            let attributes = &of.resource.as_ref().unwrap().attributes;
            (attributes::shown(attributes, "k8s.pod.name"), of.scope_spans[0].spans.len())
        })
        .collect();
    assert_eq!(told, [(Some("web-1".to_owned()), 2), (Some("db-1".to_owned()), 1)]);
    assert_eq!((exported(&web), exported(&db)), ((2, 0, 0), (1, 0, 0)));
}

#[test]
fn a_collector_that_asks_for_patience_is_asked_again_and_one_that_refuses_is_not() {
    let (endpoint, told) = collector(&["503 Busy\r\nRetry-After: 0", "200 OK", "400 Bad"]);
    let (exporter, teller) = (exporter(&endpoint, ExportProtocol::Http), teller("web"));
    exporter.span(&teller, Arc::new(asked()));
    for _ in 0..2 {
        told.recv_timeout(PATIENCE).unwrap();
    }
    let deadline = Instant::now() + PATIENCE;
    while exported(&teller).0 == 0 && Instant::now() < deadline {
        std::thread::yield_now();
    }
    exporter.span(&teller, Arc::new(asked()));
    told.recv_timeout(PATIENCE).unwrap();
    assert!(exporter.close(PATIENCE));
    assert_eq!(exported(&teller), (1, 1, 2));
}

#[test]
fn without_a_collector_nobody_waits_and_what_has_no_room_is_counted() {
    for protocol in [ExportProtocol::Grpc, ExportProtocol::Http] {
        // Nobody listens at port 1.
        let (exporter, teller) = (exporter("http://127.0.0.1:1", protocol), teller("web"));
        let exchange = Arc::new(asked());
        let since = Instant::now();
        let many = 20_000;
        for _ in 0..many {
            exporter.span(&teller, Arc::clone(&exchange));
        }
        assert!(since.elapsed() < PATIENCE, "it waits");
        {
            let taken = exporter.shared.lock().spans.shares.taken();
            assert!(taken.items <= ROOM.items / 2 && taken.bytes <= ROOM.bytes / 2, "{taken:?}");
        }
        assert!(exported(&teller).1 >= (many - ROOM.items / 2 - BATCH) as u64);
        assert!(exporter.close(PATIENCE), "it does not end");
        let (sent, dropped, failures) = exported(&teller);
        assert_eq!((sent, dropped), (0, many as u64));
        assert!(failures > 0);
    }
}

#[test]
fn whoever_is_noisy_leaves_room_for_the_others() {
    let (exporter, noisy, quiet) =
        (exporter("http://127.0.0.1:1", ExportProtocol::Http), teller("noisy"), teller("quiet"));
    let (exchange, ended) = (Arc::new(asked()), Arc::new(relayed()));
    for _ in 0..20_000 {
        exporter.span(&noisy, Arc::clone(&exchange));
        let event = Event::Connection(Arc::clone(&ended));
        exporter.log(Line { teller: Arc::clone(&noisy), event });
    }
    for _ in 0..1000 {
        exporter.span(&quiet, Arc::clone(&exchange));
        let event = Event::Connection(Arc::clone(&ended));
        exporter.log(Line { teller: Arc::clone(&quiet), event });
    }
    assert!(noisy.spans.read().1 > 0 && noisy.records.read().1 > 0);
    assert_eq!((quiet.spans.read().1, quiet.records.read().1), (0, 0), "it had no room");
}

#[test]
fn what_waits_is_bounded_in_bytes_too() {
    let (exporter, teller) = (exporter("http://127.0.0.1:1", ExportProtocol::Http), teller("web"));
    let mut exchange = asked();
    exchange.request.target = "x".repeat(60_000).into();
    let exchange = Arc::new(exchange);
    for _ in 0..1000 {
        exporter.span(&teller, Arc::clone(&exchange));
    }
    assert!(exporter.shared.lock().spans.shares.taken().bytes <= ROOM.bytes / 2);
    assert!(exported(&teller).1 > 500);
}

#[test]
fn a_collector_that_says_nothing_does_not_keep_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let exporter = exporter(&endpoint, ExportProtocol::Http);
    exporter.span(&teller("web"), Arc::new(asked()));
    let since = Instant::now();
    assert!(!exporter.close(Duration::from_millis(200)));
    assert!(since.elapsed() < Duration::from_secs(5));
}

#[test]
fn authorities_that_cannot_be_read_are_named_before_anything_is_sent() {
    let mut settings = settings("https://collector:4317", ExportProtocol::Grpc);
    settings.authorities = Some("/nowhere/ca.pem".into());
    let error = Exporter::start(&settings).unwrap_err();
    assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
}
