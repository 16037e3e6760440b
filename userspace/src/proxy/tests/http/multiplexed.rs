//! HTTP/2 with prior knowledge, through hyper's own client and server at the ends.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use ::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::*;
use crate::model::{Flag, RequestKind, Tier};

/// An answer with a trailer, as gRPC's are.
struct Trailed(Vec<Frame<Bytes>>);

impl Body for Trailed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(if self.0.is_empty() { None } else { Some(Ok(self.0.remove(0))) })
    }
}

/// A server that answers with what it was sent, and counts its connections.
async fn server() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, connections) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            let service = service_fn(|request: Request<Incoming>| async move {
                if request.uri().path() == "/reset" {
                    return Err("no answer");
                }
                let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static("7"));
                let frames = vec![Frame::data(body), Frame::trailers(trailers)];
                Ok(Response::builder().header("x-authority", authority).body(Trailed(frames)).unwrap())
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, connections)
}

async fn client(bench: &Bench) -> SendRequest<Full<Bytes>> {
    let stream = bench.connect().await;
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn call(path: &str, body: &'static str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(Method::POST)
        .uri(format!("http://shop.example{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from_static(body.as_bytes())))
        .unwrap()
}

async fn exchanged(bench: &Bench, count: usize) -> Vec<Exchange> {
    eventually(|| bench.seen.exchanged.lock().unwrap().len() >= count).await;
    std::mem::take(&mut *bench.seen.exchanged.lock().unwrap())
}

#[tokio::test]
async fn calls_of_many_clients_share_one_connection_and_trailers_arrive() {
    for entry in [Entry::Outbound, Entry::Inbound] {
        let outbound = matches!(entry, Entry::Outbound);
        let (address, connections) = server().await;
        let bench = Bench::start(entry, LIMITS, Some(address));
        bench.instance.set_http(looking());
        let mut first = client(&bench).await;
        within(first.send_request(call("/", ""))).await.unwrap();
        exchanged(&bench, 1).await;
        // By now it is known that the destination is sent HTTP: nothing is dialled before the request.
        let senders = [first, client(&bench).await];
        let calls = (0..20).map(|number: usize| {
            let mut sender = senders[number % 2].clone();
            tokio::spawn(async move {
                let answer = sender.send_request(call("/shop.Cart/Add", "item")).await.unwrap();
                assert_eq!(answer.version(), Version::HTTP_2);
                assert_eq!(answer.headers()["x-authority"], "shop.example");
                let body = answer.into_body().collect().await.unwrap();
                assert_eq!(body.trailers().unwrap()["grpc-status"], "7");
                assert_eq!(body.to_bytes(), "item");
            })
        });
        let calls: Vec<_> = calls.collect();
        for call in calls {
            within(call).await.unwrap();
        }
        let told = exchanged(&bench, 20).await;
        assert_eq!(told.len(), 20);
        assert!(told.iter().all(|told| {
            told.request.kind == RequestKind::Grpc
                && told.answer.unwrap().grpc_status == Some(7)
                && (told.request_bytes, told.answer_bytes) == (4, 4)
        }));
        let expected = if outbound { 1 } else { 2 };
        assert_eq!(connections.load(Ordering::Relaxed), expected, "outbound: {outbound}");
        drop(senders);
        let ended = bench.all_ended(2).await;
        assert!(ended.iter().all(|ended| ended.tier == Tier::Http && ended.requests >= 10), "{ended:?}");
    }
}

#[tokio::test]
async fn a_stream_that_the_upstream_resets_fails_alone() {
    let (address, _) = server().await;
    let bench = Bench::start(Entry::Outbound, LIMITS, Some(address));
    bench.instance.set_http(looking());
    let mut sender = client(&bench).await;
    let answer = within(sender.send_request(call("/reset", ""))).await.unwrap();
    assert_eq!((answer.status(), &answer.headers()["grpc-status"]), (StatusCode::OK, &"14".parse().unwrap()));
    assert!(exchanged(&bench, 1).await[0].flags.has(Flag::UpstreamReset));
    let answer = within(sender.send_request(call("/", "more"))).await.unwrap();
    assert_eq!(within(answer.into_body().collect()).await.unwrap().to_bytes(), "more");
}

#[tokio::test]
async fn connect_is_not_offered_and_a_second_host_is_refused() {
    let (address, _) = server().await;
    let bench = Bench::start(Entry::Outbound, LIMITS, Some(address));
    bench.instance.set_http(looking());
    let mut sender = client(&bench).await;
    let connect =
        Request::builder().method(Method::CONNECT).uri("db.shop:5432").body(Full::default()).unwrap();
    assert_eq!(within(sender.send_request(connect)).await.unwrap().status(), StatusCode::NOT_IMPLEMENTED);
    let mut other = call("/", "");
    other.headers_mut().insert("host", HeaderValue::from_static("other.example"));
    other.headers_mut().remove("content-type");
    assert_eq!(within(sender.send_request(other)).await.unwrap().status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_drain_ends_the_connection_when_its_calls_are_through() {
    let (address, _) = server().await;
    let bench = Bench::start(Entry::Outbound, LIMITS, Some(address));
    bench.instance.set_http(looking());
    let mut sender = client(&bench).await;
    within(sender.send_request(call("/", ""))).await.unwrap();
    bench.instance.drain();
    assert!(bench.ended().await.fault.is_none());
    assert!(within(sender.send_request(call("/", ""))).await.is_err());
}

/// A body without end that counts what was taken of it.
struct Endless(Arc<AtomicUsize>);

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        const PIECE: &[u8] = &[b'a'; 1 << 10];
        self.0.fetch_add(PIECE.len(), Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(PIECE)))))
    }
}

#[tokio::test]
async fn little_is_held_of_answers_that_their_client_does_not_take() {
    const STREAMS: usize = 50;
    // Its own window keeps them from being sent, or that nobody reads what is.
    for window in [0, 1 << 30] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, taken) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&taken);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let count = Arc::clone(&count);
                let service = service_fn(move |_request: Request<Incoming>| {
                    let body = Endless(Arc::clone(&count));
                    async move { Ok::<_, Infallible>(Response::new(body)) }
                });
                let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                builder.max_send_buf_size(1 << 10);
                tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
            }
        });
        let bench = Bench::start(Entry::Inbound, LIMITS, Some(address));
        bench.instance.set_http(looking());
        let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(window).initial_connection_window_size(1 << 20);
        let (mut sender, connection) = builder.handshake(TokioIo::new(bench.connect().await)).await.unwrap();
        tokio::spawn(connection);
        let mut answers = Vec::new();
        for _ in 0..STREAMS {
            answers.push(within(sender.send_request(call("/", ""))).await.unwrap());
        }
        let before = AtomicUsize::new(usize::MAX);
        eventually(|| {
            let now = taken.load(Ordering::Relaxed);
            before.swap(now, Ordering::Relaxed) == now
        })
        .await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        // The client's own connection takes a megabyte if its streams do.
        let held = taken.load(Ordering::Relaxed).saturating_sub(if window == 0 { 0 } else { 1 << 20 });
        assert!(held <= STREAMS * (56 << 10), "{} KiB of each of {STREAMS} answers", held / STREAMS / 1024);
    }
}
