//! A Unix socket at which a process says what it serves, to whoever runs it and to nobody else: HTTP/1.1, one request per
//! connection.
//!
//! It is not reachable over TCP. Its directory and itself are its owner's only, and who connects has to be the same user: for an
//! app that shares the file system too, as one under `run` does, or one in a container that was given the directory. What a
//! question means is not known here.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::unistd::geteuid;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::sys::own_socket::OwnSocket;

/// Where the sockets of all instances of this file system are.
pub const DIRECTORY: &str = "/run/sidestep";
/// What their names end with.
pub const EXTENSION: &str = "sock";
/// How many are answered at once, with those who follow; more wait.
const CONNECTIONS: usize = 16;
/// How long somebody may take to ask, and to read an answer that has an end.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most bytes of a request's head, and of its body.
const HEAD_BYTES: usize = 8192;
const BODY_BYTES: usize = 1024;
/// Pause after accepting failed for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Whether something is to change.
    pub changes: bool,
    /// The path.
    pub path: String,
    /// The parameters behind it; one without a value is empty.
    pub parameters: BTreeMap<String, String>,
    /// What something is to change to.
    pub body: String,
}

/// What is answered.
pub enum Reply {
    /// One text, in JSON.
    Json(String),
    /// One text, as it is.
    Text(String),
    /// A text in pieces that are made while it is sent.
    Pieces(super::Pieces),
    /// Lines of JSON, for as long as there are any and whoever asked listens.
    Lines(BoxStream<'static, String>),
    /// There is no such thing.
    Missing(String),
    /// It cannot be done.
    Refused(String),
}

/// The socket of one process. It goes with this, unless a successor has put its own in its place.
#[derive(Debug)]
pub struct Local {
    listener: UnixListener,
    socket: OwnSocket,
}

impl Local {
    /// Listens in `directory`, in place of whoever had that name before.
    ///
    /// # Errors
    /// The directory is somebody else's, or cannot be written to.
    pub fn listen(directory: &Path, name: &str) -> io::Result<Self> {
        let (listener, socket) = OwnSocket::listen(&directory.join(format!("{name}.{EXTENSION}")))?;
        Ok(Self { listener, socket })
    }

    /// Answers whoever connects, until the future is dropped.
    pub fn serve(
        self,
        answer: impl Fn(Question) -> Reply + Send + Sync + 'static,
    ) -> impl Future<Output = ()> + Send {
        let (answer, room) = (Arc::new(answer), Arc::new(Semaphore::new(CONNECTIONS)));
        let Self { listener, socket } = self;
        async move {
            let _socket = socket;
            let mut serving = tokio::task::JoinSet::new();
            // The semaphore is never closed.
            while let Ok(permit) = Arc::clone(&room).acquire_owned().await {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let answer = Arc::clone(&answer);
                        serving.spawn(async move {
                            converse(stream, &*answer).await;
                            drop(permit);
                        });
                    }
                    Err(_) => sleep(PAUSE).await,
                }
                while serving.try_join_next().is_some() {}
            }
        }
    }
}

type Body = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

async fn converse(stream: UnixStream, answer: &(impl Fn(Question) -> Reply + Send + Sync)) {
    if !stream.peer_cred().is_ok_and(|peer| peer.uid() == geteuid().as_raw()) {
        return;
    }
    // Who follows may stay; everybody else is to be done in time.
    let follows = AtomicBool::new(false);
    let service = service_fn(async |request| {
        let reply = match question(request).await {
            Ok(question) => answer(question),
            Err(why) => Reply::Refused(why),
        };
        follows.fetch_or(matches!(reply, Reply::Lines(_)), Ordering::Relaxed);
        Ok::<_, Infallible>(response(reply))
    });
    let mut connection = pin!(
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .max_buf_size(HEAD_BYTES)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service)
    );
    if timeout(PATIENCE, connection.as_mut()).await.is_err() && follows.load(Ordering::Relaxed) {
        let _broke = connection.await;
    }
}

async fn question(request: Request<Incoming>) -> Result<Question, String> {
    let changes = match *request.method() {
        Method::GET => false,
        Method::PUT => true,
        ref other => return Err(format!("expected GET or PUT, found {other}")),
    };
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_BYTES).collect().await.map_err(|error| error.to_string())?.to_bytes();
    let body = String::from_utf8(body.into()).map_err(|_| "expected a body of UTF-8".to_owned())?;
    let pairs = head.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name.to_owned(), value.to_owned())
    };
    Ok(Question { changes, path: head.uri.path().to_owned(), parameters: pairs.map(pair).collect(), body })
}

fn response(reply: Reply) -> Response<Body> {
    let one = |text: String| stream::once(async { text }).boxed();
    let (status, format, text) = match reply {
        Reply::Json(text) => (StatusCode::OK, "application/json", one(text)),
        Reply::Text(text) => (StatusCode::OK, "text/plain; charset=utf-8", one(text)),
        Reply::Pieces(pieces) => {
            (StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", stream::iter(pieces).boxed())
        }
        Reply::Lines(lines) => (StatusCode::OK, "application/x-ndjson", lines),
        Reply::Missing(text) => (StatusCode::NOT_FOUND, "text/plain; charset=utf-8", one(text)),
        Reply::Refused(text) => (StatusCode::BAD_REQUEST, "text/plain; charset=utf-8", one(text)),
    };
    let frames = text.map(|text| Ok(Frame::data(Bytes::from(text)))).boxed();
    let mut response = Response::new(StreamBody::new(frames));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format));
    response
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Read, Write};
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// The head and the body of the answer to a request.
    fn ask(path: &Path, request: &str) -> io::Result<String> {
        let mut stream = UnixStream::connect(path)?;
        write!(stream, "{request} HTTP/1.1\r\nHost: local\r\n")?;
        stream.write_all(if request.starts_with("PUT") {
            b"Content-Length: 2\r\n\r\nhi"
        } else {
            b"\r\n"
        })?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }

    fn said(question: &Question) -> Reply {
        match question.path.as_str() {
            "/lines" => Reply::Lines(stream::iter(["1\n".to_owned(), "2\n".to_owned()]).boxed()),
            "/missing" => Reply::Missing("no such thing\n".to_owned()),
            path => Reply::Text(format!("{path} {:?} {}", question.parameters, question.body)),
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn whoever_runs_it_is_answered_and_a_successor_takes_its_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let directory = directory.path().join("run");
        let path = directory.join("web-1.sock");
        let serve = |what: &'static str| {
            let local = Local::listen(&directory, "web-1").expect("it listens");
            tokio::spawn(local.serve(move |_| Reply::Text(what.to_owned())))
        };
        let first = serve("first");
        assert!(ask(&path, "GET /").expect("told").ends_with("first\r\n0\r\n\r\n"));
        let modes = [&directory, &path].map(|path| fs::metadata(path).expect("it is there").mode() & 0o777);
        assert_eq!(modes, [0o700, 0o600]);

        let second = serve("second");
        first.abort();
        let _aborted = first.await;
        assert!(ask(&path, "GET /").expect("told").contains("second"));
        second.abort();
        let _aborted = second.await;
        assert_eq!(fs::read_dir(&directory).expect("it is there").count(), 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_question_is_taken_apart_and_its_answer_may_come_line_by_line() {
        let directory = tempfile::tempdir().expect("a directory");
        let local = Local::listen(directory.path(), "web-1").expect("it listens");
        let path = directory.path().join("web-1.sock");
        let serving = tokio::spawn(local.serve(|question| said(&question)));
        let answer = ask(&path, "GET /a?workload=shop/web&follow").expect("told");
        assert!(answer.contains(r#"/a {"follow": "", "workload": "shop/web"}"#), "{answer}");
        assert!(ask(&path, "PUT /b").expect("told").contains("/b {} hi"));
        assert!(ask(&path, "DELETE /b").expect("told").starts_with("HTTP/1.1 400"));
        assert!(ask(&path, "GET /missing").expect("told").starts_with("HTTP/1.1 404"));
        let lines = ask(&path, "GET /lines").expect("told");
        assert!(lines.contains("application/x-ndjson") && lines.contains("2\r\n1\n\r\n2\r\n2\n"), "{lines}");
        serving.abort();
    }

    #[tokio::test]
    async fn the_directory_of_somebody_else_is_not_used() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("file");
        fs::write(&file, "").expect("written");
        let error = Local::listen(&file, "web-1").expect_err("it is no directory");
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
}
