//! HTTP over TLS for a few clients: the API servers, and the kubelet that probes.
//!
//! Everybody in the cluster can reach it: connections, their age, bodies and times are bounded, and what is not a question is
//! refused before it is read.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::answer;
use super::tls::Presented;
use crate::admin::{Readiness, State};
use crate::inject::Settings;

/// How many connections are served at once; more wait in the listener's backlog.
const CONNECTIONS: usize = 128;
/// How long a client may take for the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// How long it may take for the head of a request, and be silent between two.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// How long for a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// How old a connection gets before the client is asked to make another.
const AGE: Duration = Duration::from_mins(5);
/// How long it then has.
const FAREWELL: Duration = Duration::from_secs(10);
/// Most bytes of a request's head.
const HEAD_BYTES: usize = 16 * 1024;
/// Most bytes of a question: what the API server itself takes (3 MiB), and the envelope.
const BODY_BYTES: usize = 3 * 1024 * 1024 + 64 * 1024;
/// How many bodies are in memory at once.
const BODIES: usize = 8;
/// Most requests at a time on one connection. Clients make a hundred before they have heard of any limit.
const STREAMS: u32 = 128;
/// Pause after accepting failed for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

type Answer = Response<Full<Bytes>>;

/// What a connection needs.
pub(super) struct Server {
    settings: Settings,
    readiness: Readiness,
    acceptor: TlsAcceptor,
    bodies: Semaphore,
}

impl Server {
    pub(super) fn new(settings: Settings, readiness: Readiness, presented: &Arc<Presented>) -> Result<Self> {
        let acceptor = TlsAcceptor::from(presented.server()?);
        Ok(Self { settings, readiness, acceptor, bodies: Semaphore::new(BODIES) })
    }

    /// Serves until the future is dropped. Connections being served then are given up with it.
    pub(super) fn serve(
        self,
        listener: std::net::TcpListener,
    ) -> io::Result<impl Future<Output = Infallible> + Send> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let server = Arc::new(self);
        Ok(async move {
            let room = Arc::new(Semaphore::new(CONNECTIONS));
            let mut serving = JoinSet::new();
            loop {
                // The semaphore is never closed.
                let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
                    std::future::pending().await
                };
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let server = Arc::clone(&server);
                        serving.spawn(async move {
                            server.connection(stream).await;
                            drop(permit);
                        });
                    }
                    Err(error) => {
                        tracing::debug!(%error, "cannot accept a connection");
                        sleep(PAUSE).await;
                    }
                }
                while serving.try_join_next().is_some() {}
            }
        })
    }

    async fn connection(self: Arc<Self>, stream: TcpStream) {
        let stream = match timeout(HANDSHAKE, self.acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "no TLS"),
            Err(_elapsed) => return tracing::debug!("TLS took too long"),
        };
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let service = service_fn(|request| {
            let server = Arc::clone(&self);
            async move { Ok::<_, Infallible>(server.respond(request).await) }
        });
        // A connection that is old is closed between two requests, and given up if its requests do not end.
        macro_rules! see_off {
            ($connection:expr) => {{
                let mut connection = std::pin::pin!($connection);
                let young = timeout(AGE, connection.as_mut()).await;
                match young {
                    Ok(ended) => ended,
                    Err(_elapsed) => {
                        connection.as_mut().graceful_shutdown();
                        timeout(FAREWELL, connection).await.unwrap_or(Ok(()))
                    }
                }
            }};
        }
        let stream = TokioIo::new(stream);
        let ended = if http2 {
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .max_concurrent_streams(STREAMS)
                .max_header_list_size(HEAD_BYTES as u32)
                .keep_alive_interval(HEAD_TIMEOUT)
                .keep_alive_timeout(HEAD_TIMEOUT);
            see_off!(builder.serve_connection(stream, service))
        } else {
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES);
            see_off!(builder.serve_connection(stream, service))
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection broke");
        }
    }

    async fn respond(&self, request: Request<Incoming>) -> Answer {
        match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/livez") => text(StatusCode::OK, "ok\n"),
            (&Method::GET | &Method::HEAD, "/readyz") => match self.readiness.state() {
                State::Ready => text(StatusCode::OK, "ok\n"),
                State::Starting => text(StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
                State::Draining => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            },
            (&Method::POST, "/inject") => self.review(request).await,
            (_, "/livez" | "/readyz") => refused(StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD"),
            (_, "/inject") => refused(StatusCode::METHOD_NOT_ALLOWED, "POST"),
            _ => text(StatusCode::NOT_FOUND, "there are POST /inject, and GET /readyz and /livez\n"),
        }
    }

    async fn review(&self, request: Request<Incoming>) -> Answer {
        let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
        if !media.is_some_and(|media| media.eq_ignore_ascii_case("application/json")) {
            let found = kind.unwrap_or("none");
            let message = format!("expected Content-Type: application/json, found {found}\n");
            return text(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
        }
        if request.body().size_hint().lower() > BODY_BYTES as u64 {
            return too_large();
        }
        // The semaphore is never closed. Who waits for it sends nothing meanwhile, and has its time.
        let read = timeout(BODY_TIMEOUT, async {
            let _room = self.bodies.acquire().await;
            let body = Limited::new(request.into_body(), BODY_BYTES).collect().await?.to_bytes();
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(answer(&body, &self.settings))
        });
        match read.await {
            Ok(Ok(Ok(body))) => {
                let mut response = text(StatusCode::OK, body);
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                response
            }
            Ok(Ok(Err(message))) => text(StatusCode::BAD_REQUEST, format!("{message}\n")),
            Ok(Err(error)) if error.is::<LengthLimitError>() => too_large(),
            Ok(Err(_broken)) => text(StatusCode::BAD_REQUEST, "expected a whole body, found its beginning\n"),
            Err(_elapsed) => text(StatusCode::REQUEST_TIMEOUT, "the body took too long\n"),
        }
    }
}

fn too_large() -> Answer {
    text(StatusCode::PAYLOAD_TOO_LARGE, format!("expected at most {BODY_BYTES} bytes, found more\n"))
}

fn refused(status: StatusCode, allowed: &'static str) -> Answer {
    let mut response = text(status, format!("only {allowed} is answered here\n"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
