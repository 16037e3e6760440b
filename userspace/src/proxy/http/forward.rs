//! One request on its way: checked, prepared, sent to an endpoint, and its answer handed back.
//!
//! [`attempt`] sends a request to one endpoint and says how that went; which endpoint, how often and whether at all is said in
//! [`super::delivery`].

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, EXPECT, UPGRADE};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::{Body, Incoming};
use hyper::upgrade::OnUpgrade;

use super::again;
use super::body::{Download, Gate, Upload};
use super::choose::Endpoint;
use super::delivery::{self, Delivered};
use super::dialling::{Unreached, address};
use super::failure;
use super::front::Front;
use super::hops;
use super::judge::{deny, judge};
use super::own;
use super::pool::{Key, Lent, Sender};
use super::screen::{Screened, screen};
use super::sound::{self, Unsound};
use super::telling::Telling;
use super::trace;
use super::translate;
use super::upgrade::{self, Wish};
use crate::model::{Fault, Flag, Protocol, TraceParent};
use crate::proxy::connection::blame;
use crate::proxy::relay::End;

/// An upstream's answer, and the connection that it comes from.
pub(super) struct Attempted {
    pub(super) response: Response<Incoming>,
    pub(super) lent: Lent,
}

/// Why an attempt brought no answer.
pub(super) struct Failed {
    pub(super) flag: Flag,
    pub(super) fault: Fault,
    /// The request, if no byte of it was sent.
    pub(super) unsent: Option<Request<Upload>>,
}

/// Answers one request of `front`.
pub(super) async fn answer(
    front: Arc<Front>,
    request: Request<Incoming>,
) -> Result<Response<Download>, Infallible> {
    let (mut parts, body) = request.into_parts();
    own::identify(&mut parts.headers);
    let span = trace::begin(&parts.headers, front.terms.sampling.as_ref());
    let mut telling = Telling::begin(&front, &parts, span.clone());
    let version = parts.version;
    if !front.instance.requests.enter(front.terms.max_requests) {
        telling.failed(Flag::Overflow, None);
        return Ok(own::refuse(
            telling,
            version,
            StatusCode::SERVICE_UNAVAILABLE,
            "too many requests are in flight",
        ));
    }
    if let Err(unsound) = sound::check(&parts) {
        let fault = io::Error::new(io::ErrorKind::InvalidData, unsound.message);
        telling.failed(
            Flag::DownstreamProtocol,
            Some(Fault::new(blame(End::Client, front.direction), "read request", fault)),
        );
        return Ok(own::refuse(telling, version, unsound.status, unsound.message));
    }
    let wish = Wish::of(&parts);
    let named = wish != Wish::Upgrade || upgrade::is_named(&parts.headers);
    // Before it is judged: what its Connection fields take away, the app will not see.
    hops::strip_request(&mut parts.headers, if named { wish } else { Wish::Answer });
    translate::join_cookies(&mut parts);
    let judged = match judge(&front, &parts, &mut telling) {
        Ok(judged) => judged,
        Err(Unsound { status, message }) => return Ok(own::refuse(telling, version, status, message)),
    };
    let body = match screen(&front, judged, wish, &parts, body).await {
        Ok(body) => body,
        Err(refused) => {
            let Unsound { status, message } = deny(&front, refused, &mut telling);
            return Ok(own::refuse(telling, version, status, message));
        }
    };
    span.write(&mut parts.headers);
    let offered = parts.extensions.remove::<OnUpgrade>().is_some();
    let (request, gate) = upload(parts, body, &mut telling);

    let delivered = delivery::deliver(&front, request, span.own, &mut telling).await;
    let Delivered { attempted: Attempted { mut response, mut lent }, met } = match delivered {
        Ok(delivered) => delivered,
        Err(undelivered) => return Ok(undelivered.answer(telling, version)),
    };
    telling.answered(response.status(), response.headers());
    if wish.is_granted_by(response.status()) && named && offered && !upgrade::names_hidden(response.headers())
    {
        front.agreed.leave(hyper::upgrade::on(&mut response), telling);
        return Ok(response.map(|_nothing| Download::own("", None)));
    }
    let unfit = if response.status().is_informational() {
        Some("the upstream switches protocols unasked")
    } else if hops::frames_once(response.headers()) {
        None
    } else {
        Some("expected no Transfer-Encoding but one `chunked` in the upstream's answer, found another")
    };
    if let Some(unfit) = unfit {
        let source = io::Error::new(io::ErrorKind::InvalidData, unfit);
        telling.failed(
            Flag::UpstreamProtocol,
            Some(Fault::new(blame(End::Upstream, front.direction), "read answer", source)),
        );
        let (status, text) = own::meaning(Flag::UpstreamProtocol);
        return Ok(own::refuse(telling, version, status, text));
    }
    hops::strip_answer(response.headers_mut());
    if let Some(met) = met {
        met.edit(response.headers_mut());
    }
    if version != Version::HTTP_2 {
        *response.version_mut() = Version::HTTP_11;
        let unwanted = gate.as_ref().is_some_and(|gate| !gate.was_opened());
        if wish != Wish::Answer || unwanted {
            // What comes behind the request was not looked at, or may be a body that nobody wants: it is not read as another
            // request.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
    lent.uploaded = telling.upload_ended();
    let direction = front.direction;
    Ok(response.map(|body| {
        let mut download = Download::upstream(body, Some(lent), telling, direction);
        if let Some(gate) = gate {
            download.shuts(gate);
        }
        download
    }))
}

/// The request as it is sent on.
fn upload(parts: Parts, body: Screened, telling: &mut Telling) -> (Request<Upload>, Option<Arc<Gate>>) {
    let body = match body {
        Screened::Unread(body) => body,
        Screened::Whole(bytes) => return (Request::from_parts(parts, Upload::whole(bytes)), None),
    };
    if body.is_end_stream() {
        return (Request::from_parts(parts, Upload::empty()), None);
    }
    let (mut upload, count, ended) = Upload::counted(body);
    telling.uploading(count, ended);
    let expects = parts.version == Version::HTTP_11
        && parts
            .headers
            .get(EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if !expects {
        return (Request::from_parts(parts, upload), None);
    }
    // Reading the body is what sends the client its `100 Continue`: it gets one when the upstream has sent one.
    let gate = Arc::new(Gate::default());
    upload.behind(Arc::clone(&gate));
    let mut request = Request::from_parts(parts, upload);
    // Whoever waits for the answer opens it.
    request.extensions_mut().insert(Arc::clone(&gate));
    (request, Some(gate))
}

/// Sends a request to an endpoint and waits for the head of its answer.
///
/// A connection that had waited in the pool may turn out to be dead: then a new one is tried, if nothing was sent on the dead
/// one, or if sending it twice does no harm and nothing says that it was taken already.
pub(super) async fn attempt(
    front: &Front,
    mut request: Request<Upload>,
    endpoint: &mut Endpoint,
    trace: TraceParent,
    telling: &mut Telling,
) -> Result<Attempted, Failed> {
    let asked = if request.version() == Version::HTTP_2 { Protocol::Http2 } else { Protocol::Http1 };
    let protocol = front.spoken.unwrap_or(asked);
    translate::adapt(&mut request, protocol);
    let key = Key { way: endpoint.way.clone(), protocol };
    telling.attempted(address(&key.way));
    let mut reached = match endpoint.ready.take() {
        Some(ready) => ready,
        None => in_time(front, endpoint.connect_timeout, front.connection(&key, Some(trace))).await,
    };
    loop {
        let mut lent = match reached {
            Ok(lent) => lent,
            Err(Unreached { flag, fault }) => return Err(Failed { flag, fault, unsent: Some(request) }),
        };
        if let Some(keeping) = endpoint.keeping {
            lent.known.keep(keeping);
        }
        if let Some((source, destination)) = &lent.known.proved {
            telling.proved(source, destination);
        }
        let again = if lent.used { copy(&request) } else { None };
        let heard = lent.known.heard();
        let sent = match &mut lent.sender {
            Sender::Http1(sender) => {
                let (awaited, patience) = (&lent.known.awaited, front.terms.header_timeout);
                let answer = awaited.answer(request, patience, |request| sender.try_send_request(request));
                match answer.await {
                    Ok(sent) => sent,
                    Err(excess) => {
                        let endless = io::Error::new(io::ErrorKind::InvalidData, excess);
                        let fault =
                            Fault::new(blame(End::Upstream, front.direction), "wait for answer", endless);
                        return Err(Failed { flag: Flag::UpstreamProtocol, fault, unsent: None });
                    }
                }
            }
            Sender::Http2(sender, _) => sender.try_send_request(request).await,
        };
        let mut error = match sent {
            Ok(response) => return Ok(Attempted { response, lent }),
            Err(error) => error,
        };
        let unsent = error.take_message();
        let error = error.into_error();
        let answering = matches!(lent.sender, Sender::Http1(_)) && lent.known.heard() != heard;
        let again = if answering || failure::is_of_stream(&error) { None } else { again };
        match (lent.used, unsent, again) {
            (true, Some(back), _) | (true, None, Some(back)) if failure::is_of_connection(&error) => {
                drop(lent);
                request = back;
                reached = in_time(front, endpoint.connect_timeout, front.fresh(&key, Some(trace))).await;
            }
            (_, unsent, _) => {
                let (flag, end, doing) = if failure::is_of_upload(&error) {
                    (Flag::DownstreamGone, End::Client, "read request")
                } else {
                    (failure::flag(&error), End::Upstream, "wait for answer")
                };
                let fault = Fault::new(blame(end, front.direction), doing, failure::io(&error));
                return Err(Failed { flag, fault, unsent });
            }
        }
    }
}

/// Waits for a connection for as long as a service's own terms say, if they say it.
async fn in_time(
    front: &Front,
    patience: Option<Duration>,
    connecting: impl Future<Output = Result<Lent, Unreached>>,
) -> Result<Lent, Unreached> {
    let Some(patience) = patience else { return connecting.await };
    tokio::time::timeout(patience, connecting).await.unwrap_or_else(|_elapsed| {
        let message = format!("no connection within {patience:?} (connectTimeout)");
        let late = io::Error::new(io::ErrorKind::TimedOut, message);
        let fault = Fault::new(blame(End::Upstream, front.direction), "dial upstream", late);
        Err(Unreached { flag: Flag::UpstreamFailure, fault })
    })
}

/// The same request again, if it has no body and asking twice does no harm.
fn copy(request: &Request<Upload>) -> Option<Request<Upload>> {
    let harmless = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !harmless || request.headers().contains_key(UPGRADE) || !again::is_head_alone(request) {
        return None;
    }
    Some(again::whole_head(request).map(|()| Upload::empty()))
}
