//! A client's connection of HTTP from its first byte to its end.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, Service, service_fn};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioTimer;
use tokio::time::{Instant, Sleep, sleep};

use super::body::Download;
use super::dialling::{CONNECTION_WINDOW, SEND_BUFFER, STREAM_WINDOW};
use super::explicit;
use super::failure;
use super::forward;
use super::front::{Front, Target};
use super::heads::Heads;
use super::io::{Carrier, Io};
use super::spawning::{Spawner, Tasks};
use super::telling::Telling;
use super::upgrade::{self, Leaving};
use crate::model::{Fault, Flag, Protocol};
use crate::proxy::connection::blame;
use crate::proxy::relay::End;

/// Requests that one connection of HTTP/2 may have under way.
const STREAMS: u32 = 200;
/// Streams that a client may reset before they were looked at (CVE-2023-44487, "rapid reset").
const RESETS: usize = 20;
/// Streams that a client may have us reset (CVE-2025-8671, "MadeYouReset").
const OUR_RESETS: usize = 128;
/// How often a client of HTTP/2 is pinged, and how long its answer may take.
const PING: Duration = Duration::from_secs(30);
/// How long a client may take to hear that its head took too long.
const FAREWELL: Duration = Duration::from_secs(2);
/// How many times per idle timeout a connection is looked at.
const LOOKS: u32 = 4;

/// Serves requests until the connection has ended.
///
/// # Errors
/// What ended it out of order.
pub(in crate::proxy) async fn serve(
    front: Arc<Front>,
    carrier: Carrier,
    early: Bytes,
    protocol: Protocol,
) -> Result<(), Fault> {
    let _leaving = Leaving(Arc::clone(&front.agreed));
    let served = match protocol {
        Protocol::Http2 => Box::pin(http2(&front, carrier, early)).await,
        _ => Box::pin(http1(&front, carrier, early)).await,
    };
    let side = blame(End::Client, front.direction);
    let agreed = front.agreed.take();
    let served = match (served, agreed) {
        (Ok(()), Some((client, None))) => Box::pin(upgrade::decline(client)).await,
        (Ok(()), Some((client, Some((upstream, telling))))) => {
            return Box::pin(carry(&front, client, upstream, telling)).await;
        }
        (served, _) => served,
    };
    if let Some(violation) = front.watch.violation() {
        let source = io::Error::new(io::ErrorKind::InvalidData, violation.to_string());
        return Err(Fault::new(side, "read request", source));
    }
    served.map_err(|source| Fault::new(side, "serve requests", source))
}

/// Carries what a request became, and tells of both when it is over.
async fn carry(
    front: &Front,
    client: OnUpgrade,
    upstream: OnUpgrade,
    mut telling: Telling,
) -> Result<(), Fault> {
    const DOING: &str = "carry upgraded connection";
    let Err((end, source)) = upgrade::carry(client, upstream, &mut telling).await else {
        telling.whole();
        return Ok(());
    };
    let flag = if end == End::Upstream { Flag::UpstreamGone } else { Flag::DownstreamGone };
    let side = blame(end, front.direction);
    let same = io::Error::new(source.kind(), source.to_string());
    telling.failed(flag, Some(Fault::new(side, DOING, same)));
    Err(Fault::new(side, DOING, source))
}

/// Answers a request, whatever says where it goes.
async fn answer(front: Arc<Front>, request: Request<Incoming>) -> Result<Response<Download>, Infallible> {
    match front.target {
        Target::OfConnection => forward::answer(front, request).await,
        Target::OfRequest => Box::pin(explicit::answer(front, request)).await,
    }
}

async fn http1(front: &Arc<Front>, carrier: Carrier, early: Bytes) -> io::Result<()> {
    let io = Io::client(carrier, early, Some(Heads::default()), Arc::clone(&front.watch));
    let shared = Arc::clone(front);
    let service = service_fn(move |request: Request<Incoming>| {
        if let Some(offered) = request.extensions().get::<OnUpgrade>() {
            shared.agreed.offer(offered.clone());
        }
        answer(Arc::clone(&shared), request)
    });
    let connection = http1::Builder::new()
        .preserve_header_case(true)
        .auto_date_header(false)
        .header_read_timeout(None)
        .max_buf_size(front.terms.max_header_size.max(8 << 10))
        .max_header_size(front.terms.max_header_size)
        .serve_connection(io, service)
        .with_upgrades();
    to_the_end(front, pin!(connection)).await
}

async fn http2(front: &Arc<Front>, carrier: Carrier, early: Bytes) -> io::Result<()> {
    let io = Io::client(carrier, early, None, Arc::clone(&front.watch));
    let shared = Arc::clone(front);
    let service = service_fn(move |request| answer(Arc::clone(&shared), request));
    let tasks = Tasks::default();
    let connection = http2::Builder::new(tasks.spawner())
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(front.terms.max_header_size).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(OUR_RESETS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .serve_connection(io, service);
    to_the_end(front, pin!(connection)).await
}

/// A connection that can be asked to end when its requests have.
trait Serving: Future<Output = hyper::Result<()>> {
    fn retire(self: Pin<&mut Self>);
}

impl<S> Serving for http1::UpgradeableConnection<Io, S>
where
    S: HttpService<Incoming, ResBody = Download>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn retire(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<S> Serving for http2::Connection<Io, S, Spawner>
where
    S: Service<Request<Incoming>, Response = Response<Download>>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Future: Send + 'static,
{
    fn retire(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Drives a connection to its end, which it is asked to come to when the instance drains or no request came for long.
async fn to_the_end(front: &Front, mut connection: Pin<&mut impl Serving>) -> io::Result<()> {
    let mut draining = front.instance.draining();
    let mut drained = pin!(draining.wait_for(|draining| *draining));
    let mut told = false;
    let mut slow =
        Slow { patience: front.terms.header_timeout, head: None, since: front.since.as_deref().copied() };
    let mut deadline = pin!(sleep(front.terms.header_timeout));
    let mut idle = Quiet { seen: 0, quiet: 0 };
    let mut look = pin!(sleep(front.terms.idle_timeout / LOOKS));
    poll_fn(|context| {
        loop {
            if let Poll::Ready(ended) = connection.as_mut().poll(context) {
                let ended = ended.map_err(|error| failure::io(&error));
                return Poll::Ready(if front.watch.is_late() { Err(slow.fault()) } else { ended });
            }
            if front.watch.is_late() {
                if deadline.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Err(slow.fault()));
                }
            } else if slow.poll(front, deadline.as_mut(), context).is_ready() {
                // Reading on, it is told so.
                front.watch.give_up();
                deadline.as_mut().reset(Instant::now() + FAREWELL);
                continue;
            }
            let over = idle.poll(front, look.as_mut(), context).is_ready();
            if over || !told && drained.as_mut().poll(context).is_ready() {
                told = true;
                connection.as_mut().retire();
                continue;
            }
            return Poll::Pending;
        }
    })
    .await
}

/// Notices a head that does not come to its end.
struct Slow {
    patience: Duration,
    /// The head that the deadline is for.
    head: Option<u64>,
    /// When the connection's first bytes had come, if that was before it was served.
    since: Option<Instant>,
}

impl Slow {
    fn poll(&mut self, front: &Front, mut deadline: Pin<&mut Sleep>, context: &mut Context<'_>) -> Poll<()> {
        // Behind a request that is being answered nothing is read, however much of it has come.
        let under_way = front.watch.head_under_way().filter(|_| front.watch.is_idle());
        if under_way.is_none() {
            // Heads mostly come in one piece: then no timer is ever touched.
            self.head = None;
            return Poll::Pending;
        }
        if self.head != under_way {
            self.head = under_way;
            let since = self.since.filter(|_| under_way == Some(1)).unwrap_or_else(Instant::now);
            deadline.as_mut().reset(since + self.patience);
        }
        deadline.poll(context)
    }

    fn fault(&self) -> io::Error {
        let message = format!("no whole head within {:?} (http.header-timeout)", self.patience);
        io::Error::new(io::ErrorKind::TimedOut, message)
    }
}

/// Notices that no request came for a while, without looking at a clock when one does.
struct Quiet {
    seen: u64,
    quiet: u32,
}

impl Quiet {
    fn poll(&mut self, front: &Front, mut look: Pin<&mut Sleep>, context: &mut Context<'_>) -> Poll<()> {
        while look.as_mut().poll(context).is_ready() {
            let requests = front.watch.requests();
            let still = front.watch.is_idle() && requests == self.seen;
            self.quiet = if still { self.quiet + 1 } else { 0 };
            self.seen = requests;
            look.as_mut().reset(Instant::now() + front.terms.idle_timeout / LOOKS);
            if self.quiet == LOOKS {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}
