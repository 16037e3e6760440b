//! Readiness, liveness, metrics and certificates over HTTP, for the kubelet, for Prometheus, and for people.
//!
//! It deliberately serves one request per connection and few at a time, each within a deadline, because whoever
//! reaches the address may ask. It changes nothing: there is no request that does anything.

pub mod local;
mod readiness;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{Either, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

pub use readiness::{Readiness, State};

/// How many connections are served at once; more wait in the listener's backlog.
const CONNECTIONS: usize = 64;
/// How long a client may take to send its request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a connection may last in all.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes of a request's head; the least that hyper allows.
const HEAD_BYTES: usize = 8192;
/// Most header fields.
const HEAD_FIELDS: usize = 64;
/// Pause after accepting failed for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// A text that is made while it is sent, because as a whole it may be large.
pub type Pieces = Box<dyn Iterator<Item = String> + Send>;

/// Who makes the metrics.
pub type Metrics = Box<dyn Fn(Option<&str>) -> Option<Pieces> + Send + Sync>;

/// What a request can learn.
pub struct Admin {
    /// Whether the workload may be sent connections.
    pub readiness: Readiness,
    /// The metrics of all workloads, or of the one of that name, in Prometheus' text format; `None` if there is none of
    /// that name.
    pub metrics: Metrics,
    /// The workload's certificates as JSON; `None` while it has none. Nothing in it is secret.
    pub certificates: Box<dyn Fn() -> Option<String> + Send + Sync>,
}

/// Serves until the future is dropped. Connections being served then are given up with it.
///
/// # Errors
/// The listener cannot be made non-blocking or watched by the runtime. Nothing that happens later is an error.
pub fn serve(
    listener: std::net::TcpListener,
    admin: Admin,
) -> io::Result<impl Future<Output = Infallible> + Send> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let admin = Arc::new(admin);
    Ok(async move {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let mut serving = tokio::task::JoinSet::new();
        loop {
            // The semaphore is never closed.
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { std::future::pending().await };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let admin = Arc::clone(&admin);
                    serving.spawn(async move {
                        answer(stream, &admin).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot accept an admin connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
            while serving.try_join_next().is_some() {}
        }
    })
}

/// What is answered: as a whole, or in pieces.
type Body = Either<Full<Bytes>, StreamBody<futures_util::stream::Iter<Frames>>>;
type Frames = Box<dyn Iterator<Item = Result<Frame<Bytes>, Infallible>> + Send>;
type Answer = Response<Body>;

/// Before the name of a workload.
const ONE_WORKLOAD: &str = "/metrics/";

async fn answer(stream: TcpStream, admin: &Admin) {
    let service = service_fn(async |request| Ok::<_, Infallible>(respond(admin, &request)));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEAD_FIELDS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "admin connection broke"),
        Err(_elapsed) => tracing::debug!("admin connection took too long"),
    }
}

fn respond(admin: &Admin, request: &Request<Incoming>) -> Answer {
    // hyper leaves the body away in answers to HEAD.
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/readyz" => match admin.readiness.state() {
            State::Ready => text(StatusCode::OK, "ok\n"),
            State::Starting => {
                text(StatusCode::SERVICE_UNAVAILABLE, "starting: capture is not in place yet\n")
            }
            State::Draining => {
                text(StatusCode::SERVICE_UNAVAILABLE, "draining: no new connections are taken\n")
            }
        },
        "/metrics" => metrics(admin, None),
        path if path.starts_with(ONE_WORKLOAD) => metrics(admin, Some(&path[ONE_WORKLOAD.len()..])),
        "/certs" => match (admin.certificates)() {
            Some(certificates) => {
                let mut response = text(StatusCode::OK, certificates);
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                response
            }
            None => text(StatusCode::NOT_FOUND, "the workload has no certificate: configure identity\n"),
        },
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /livez, /readyz, /metrics, /metrics/<workload> and /certs\n",
        ),
    }
}

fn metrics(admin: &Admin, workload: Option<&str>) -> Answer {
    let Some(pieces) = (admin.metrics)(workload) else {
        return text(StatusCode::NOT_FOUND, "no workload of that name is served here\n");
    };
    let frames = pieces.map(|piece| Ok(Frame::data(Bytes::from(piece))));
    let body = Either::Right(StreamBody::new(futures_util::stream::iter(Box::new(frames) as Frames)));
    let mut response = answered(StatusCode::OK, body);
    let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, format);
    response
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    answered(status, Either::Left(Full::new(body.into())))
}

fn answered(status: StatusCode, body: Body) -> Answer {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn start() -> (SocketAddr, Readiness) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let readiness = Readiness::default();
        let admin = Admin {
            readiness: readiness.clone(),
            metrics: Box::new(|workload| {
                let pieces = (1..=3).map(|number| format!("sidestep_captures_total {number}\n"));
                (workload.is_none_or(|name| name == "shop/web")).then(|| Box::new(pieces) as Pieces)
            }),
            certificates: Box::new(|| None),
        };
        tokio::spawn(serve(listener, admin).unwrap());
        (address, readiness)
    }

    /// The whole answer to one request.
    async fn ask(address: SocketAddr, request: &str) -> String {
        tokio::time::timeout(PATIENCE, async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer).await;
            answer
        })
        .await
        .expect("no answer in time")
    }

    async fn get(address: SocketAddr, path: &str) -> String {
        ask(address, &format!("GET {path} HTTP/1.1\r\nHost: admin\r\n\r\n")).await
    }

    #[tokio::test]
    async fn readiness_follows_the_state_and_liveness_does_not() {
        let (address, readiness) = start();
        for (state, status) in [
            (State::Starting, "503"),
            (State::Ready, "200"),
            (State::Draining, "503"),
            (State::Starting, "503"),
        ] {
            readiness.set(state);
            let answer = get(address, "/readyz").await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{state:?}: {answer}");
            assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200 "));
        }
    }

    #[tokio::test]
    async fn the_reason_for_not_being_ready_is_said() {
        let (address, readiness) = start();
        assert!(get(address, "/readyz").await.contains("starting"));
        readiness.set(State::Draining);
        assert!(get(address, "/readyz").await.contains("draining"));
    }

    #[tokio::test]
    async fn metrics_are_served_as_text() {
        let (address, _) = start();
        let answer = get(address, "/metrics").await;
        assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
        let pieces: Vec<_> = answer.lines().filter(|line| line.starts_with("sidestep")).collect();
        assert_eq!(
            pieces,
            ["sidestep_captures_total 1", "sidestep_captures_total 2", "sidestep_captures_total 3"]
        );
        assert!(answer.ends_with("0\r\n\r\n"), "whole: {answer}");
    }

    #[tokio::test]
    async fn metrics_of_one_workload_are_served_by_its_name() {
        let (address, _) = start();
        assert!(get(address, "/metrics/shop/web").await.starts_with("HTTP/1.1 200 "));
        let answer = get(address, "/metrics/shop/db").await;
        assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("no workload"), "{answer}");
    }

    #[tokio::test]
    async fn head_has_no_body() {
        let (address, _) = start();
        let answer = ask(address, "HEAD /metrics HTTP/1.1\r\nHost: admin\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    }

    #[tokio::test]
    async fn other_paths_and_methods_are_refused() {
        let (address, _) = start();
        assert!(get(address, "/").await.starts_with("HTTP/1.1 404 "));
        let answer = ask(address, "POST /livez HTTP/1.1\r\nHost: admin\r\nContent-Length: 0\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("allow: GET, HEAD"), "{answer}");
    }

    #[tokio::test]
    async fn an_oversized_head_is_refused() {
        let (address, _) = start();
        let request =
            format!("GET /livez HTTP/1.1\r\nHost: admin\r\nX: {}\r\n\r\n", "x".repeat(2 * HEAD_BYTES));
        let answer = ask(address, &request).await;
        // Refused with a status, or by a reset that overtook it.
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }

    #[tokio::test]
    async fn clients_that_say_nothing_do_not_keep_others_out_for_ever() {
        let (address, _) = start();
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS + 8 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        // Served as soon as the silent ones have run into the timeout for their heads.
        assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200 "));
    }
}
