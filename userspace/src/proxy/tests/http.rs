//! HTTP through a real instance: raw sockets at both ends, so that every byte is seen.

mod closing;
mod detection;
mod endings;
mod messages;
mod multiplexed;
mod routing;
mod special;
mod tunnelled;
mod unsound;

use super::*;
use crate::model::Exchange;
use crate::proxy::{HttpTerms, Looking};

/// Looks at everything.
fn looking() -> HttpTerms {
    HttpTerms { outbound: Looking::Detect, inbound: Looking::Detect, ..HttpTerms::default() }
}

/// An instance that looks at everything, before an upstream of the test's own.
struct Web {
    bench: Bench,
    listener: TcpListener,
}

impl Web {
    async fn start(entry: Entry) -> Self {
        Self::with(entry, looking()).await
    }

    async fn with(entry: Entry, terms: HttpTerms) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bench = Bench::start(entry, LIMITS, Some(listener.local_addr().unwrap()));
        bench.instance.set_http(terms);
        Self { bench, listener }
    }

    async fn upstream(&self) -> TcpStream {
        within(self.listener.accept()).await.unwrap().0
    }

    /// A client that has sent `request`, and the upstream that got it.
    async fn ask(&self, request: &str) -> (TcpStream, TcpStream, String) {
        let mut client = self.bench.connect().await;
        client.write_all(request.as_bytes()).await.unwrap();
        let mut upstream = self.upstream().await;
        let head = head(&mut upstream).await;
        (client, upstream, head)
    }

    async fn exchanges(&self, count: usize) -> Vec<Exchange> {
        eventually(|| self.bench.seen.exchanged.lock().unwrap().len() >= count).await;
        let told = std::mem::take(&mut *self.bench.seen.exchanged.lock().unwrap());
        assert_eq!(told.len(), count, "every request is told once");
        told
    }
}

/// Reads as far as the end of a head.
async fn head(stream: &mut TcpStream) -> String {
    until(stream, "\r\n\r\n").await
}

/// Reads until what was read ends with `end`.
async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        match within(stream.read_u8()).await {
            Ok(byte) => text.push(byte),
            Err(error) => panic!("{error} behind {:?}", String::from_utf8_lossy(&text)),
        }
    }
    String::from_utf8(text).unwrap()
}

/// Reads to the end of the stream, in order or not.
async fn rest(stream: &mut TcpStream) -> (String, io::Result<()>) {
    let mut text = Vec::new();
    let ended = within(stream.read_to_end(&mut text)).await.map(drop);
    (String::from_utf8_lossy(&text).into_owned(), ended)
}

/// The lines of a head that Sidestep did not add.
fn lines(head: &str) -> Vec<&str> {
    let ours = ["x-request-id:", "traceparent:"];
    head.trim_end().split("\r\n").filter(|line| !ours.iter().any(|name| line.starts_with(name))).collect()
}
