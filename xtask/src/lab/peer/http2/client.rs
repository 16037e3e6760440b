//! The closed loop over HTTP/2: every stream's place is taken by the next request as soon as its answer is there.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use h2::RecvStream;
use h2::client::SendRequest;
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use tokio::task::{JoinHandle, spawn_local};

use super::super::WARM_UP;
use super::super::answer::Answer;
use super::super::client::dial;
use super::super::effort::{Counted, Limit, Ready, nanoseconds_since};
use super::{AtOnce, GRPC, MESSAGE, Speech, eager, on_this_thread};

type Data = &'static [u8];

/// Requests over that many streams of that many connections.
pub(in super::super) fn closed_loop(
    to: SocketAddr,
    at_once: AtOnce,
    speech: Speech,
    limit: Limit,
    ready: Ready,
) -> Result<Answer> {
    on_this_thread(async {
        let mut open = Vec::with_capacity(at_once.connections);
        for _ in 0..at_once.connections {
            open.push(connect(to).await?);
        }
        let places: Vec<SendRequest<Data>> =
            open.iter().flat_map(|connection| vec![connection.clone(); at_once.streams]).collect();
        let question = Question::new(speech)?;
        let warm_up = Limit::of(WARM_UP.max(2 * places.len()));
        ask(&places, &question, warm_up).await.context("warm up")?;
        let counted = Counted::begin(ready)?;
        let (wholes, bytes) = ask(&places, &question, limit).await?;
        Answer::connected(at_once.connections, wholes, bytes, counted.end()?)
    })
}

async fn connect(to: SocketAddr) -> Result<SendRequest<Data>> {
    let stream = eager(dial(to)?)?;
    let (sender, connection) = h2::client::Builder::new().handshake(stream).await.context("shake hands")?;
    // What ends it is said by the requests that it fails.
    spawn_local(async move { drop(connection.await) });
    Ok(sender)
}

/// The same every time.
#[derive(Debug, Clone)]
struct Question {
    request: Request<()>,
    message: Option<Data>,
}

impl Question {
    fn new(speech: Speech) -> Result<Self> {
        let (method, path, message) = match speech {
            Speech::Plain => (Method::GET, "/bench", None),
            Speech::Grpc => (Method::POST, "/sidestep.Bench/Ask", Some(MESSAGE)),
        };
        let uri = Uri::builder().scheme("http").authority("bench").path_and_query(path);
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = uri.build().context("name what is asked for")?;
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static("sidestep-bench"));
        if speech == Speech::Grpc {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        Ok(Self { request, message })
    }

    /// Asks once, and returns how many bytes of bodies went there and came back.
    async fn ask(&self, place: &SendRequest<Data>) -> Result<u64> {
        let mut place = place.clone().ready().await.context("wait for a stream")?;
        let (answer, mut body) =
            place.send_request(self.request.clone(), self.message.is_none()).context("send a request")?;
        if let Some(message) = self.message {
            body.send_data(message, true).context("send a message")?;
        }
        let (head, body) = answer.await.context("wait for an answer")?.into_parts();
        ensure!(head.status == StatusCode::OK, "expected status 200, found {}", head.status.as_u16());
        let length = self.read(body).await?;
        Ok(length + self.message.map_or(0, |message| message.len() as u64))
    }

    async fn read(&self, mut body: RecvStream) -> Result<u64> {
        let mut length = 0;
        while let Some(chunk) = body.data().await {
            let chunk = chunk.context("read an answer")?.len();
            body.flow_control().release_capacity(chunk).context("make room")?;
            length += chunk as u64;
        }
        if self.message.is_some() {
            let trailers = body.trailers().await.context("read trailers")?;
            let status = trailers.as_ref().and_then(|fields| fields.get("grpc-status"));
            ensure!(status.is_some_and(|it| it == "0"), "expected grpc-status 0, found {status:?}");
        }
        Ok(length)
    }
}

/// Requests under way and those that are over.
#[derive(Debug)]
struct Asking {
    limit: Limit,
    began: Instant,
    begun: Cell<usize>,
    bytes: Cell<u64>,
    wholes: RefCell<Vec<u64>>,
}

async fn ask(places: &[SendRequest<Data>], question: &Question, limit: Limit) -> Result<(Vec<u64>, u64)> {
    let asking = Rc::new(Asking {
        limit,
        began: Instant::now(),
        begun: Cell::new(0),
        bytes: Cell::new(0),
        wholes: RefCell::new(Vec::with_capacity(limit.count)),
    });
    let ask = |place: &SendRequest<Data>| -> JoinHandle<Result<()>> {
        let (place, question, asking) = (place.clone(), question.clone(), Rc::clone(&asking));
        spawn_local(async move { asking.again_and_again(&place, &question).await })
    };
    let tasks: Vec<JoinHandle<Result<()>>> = places.iter().take(limit.count).map(ask).collect();
    for task in tasks {
        task.await.context("ask")??;
    }
    Ok((asking.wholes.take(), asking.bytes.get()))
}

impl Asking {
    async fn again_and_again(&self, place: &SendRequest<Data>, question: &Question) -> Result<()> {
        while self.limit.allows(self.begun.get(), self.began) {
            self.begun.set(self.begun.get() + 1);
            let began = Instant::now();
            let bytes = question.ask(place).await?;
            self.bytes.set(self.bytes.get() + bytes);
            self.wholes.borrow_mut().push(nanoseconds_since(began));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::super::super::testing::{address, listener, no_wait};
    use super::super::serve;
    use super::*;

    #[test]
    fn as_many_requests_are_answered_as_were_asked_for() {
        let listener = listener();
        let to = address(&listener);
        thread::spawn(move || serve(listener));
        // A page is a hundred bytes; a call is a message there and one back.
        let lengths = [(Speech::Plain, 100), (Speech::Grpc, 2 * MESSAGE.len())];
        for (speech, length) in lengths {
            for (connections, streams, count) in [(1, 1, 20), (4, 8, 500), (2, 8, 5)] {
                let at_once = AtOnce { connections, streams };
                let answer = closed_loop(to, at_once, speech, Limit::of(count), no_wait).unwrap();
                assert_eq!((answer.operations, answer.whole.count()), (count as u64, count as u64));
                assert_eq!((answer.connections, answer.bytes), (connections, (count * length) as u64));
            }
        }
    }

    #[test]
    fn a_server_that_speaks_something_else_ends_the_measurement() {
        let listener = listener();
        let to = address(&listener);
        thread::spawn(move || super::super::super::http::serve(&listener));
        let at_once = AtOnce { connections: 1, streams: 1 };
        let error = closed_loop(to, at_once, Speech::Plain, Limit::of(1), no_wait).unwrap_err();
        assert!(format!("{error:#}").contains("warm up"), "{error:#}");
    }
}
