//! TLS taken off connections from others, for an app that speaks none and listens on loopback only.
//!
//! Whoever connects is nobody until the handshake is over: until then it has a place among few, and a few seconds. The mesh's own
//! TLS this is not: where mutual TLS is demanded, what comes in here counts as plain text.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::body::Bytes;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::pump::{Truncation, pump};
use super::{Arrived, Refusal, Termination, fail, open};
use crate::model::{ClientAddr, Direction, Fault, OriginalDst, Protocol, Side, Tier};
use crate::proxy::admission::{Admitted, Caller};
use crate::proxy::connection::blame;
use crate::proxy::dial::{Dial, gone, late};
use crate::proxy::http::front::Front;
use crate::proxy::http::intake::speak;
use crate::proxy::http::io::Carrier;
use crate::proxy::http::{HttpTerms, Looking};
use crate::proxy::instance::{Alive, Instance};
use crate::proxy::leg::Leg;
use crate::proxy::record::Record;
use crate::proxy::relay::{Broken, End};

/// Serves a connection to its end.
pub(super) async fn serve(alive: Alive, termination: &Termination, arrived: Arrived) {
    let instance = &*alive.instance;
    let mut record = open(&alive, Direction::Inbound, &arrived);
    let Arrived { seat, stream, second, client, local } = arrived;
    let admitted = match admit(instance, client, OriginalDst(local), &mut record) {
        Ok(admitted) => admitted,
        Err(refusal) => {
            drop(Leg::new(stream));
            return fail(instance, record, client, refusal);
        }
    };
    let limits = instance.limits();
    let patience = limits.connect_timeout;
    let shaken = timeout(patience, async {
        // The semaphore is never closed.
        let _place = termination.handshakes.acquire().await;
        TlsAcceptor::from((termination.tls)()).accept(stream).await
    });
    let shaken = shaken.await.unwrap_or_else(|_elapsed| Err(late(patience)));
    let mut secured = match shaken {
        Ok(stream) => Terminated { stream, told: false },
        Err(source) => {
            return fail(instance, record, client, Fault::new(Side::Peer, "shake hands", source).into());
        }
    };
    if let Some((protocol, app)) = spoken(&secured, termination, &admitted, &instance.http()) {
        record.carried(Tier::Http);
        let (terms, original) = (instance.http(), OriginalDst(termination.to.0));
        let mut front = Front::new(&alive.instance, terms, seat, &record, original);
        front.spoken = Some(app);
        drop(second);
        return speak(Arc::new(front), Carrier::Other(Box::new(secured)), Bytes::new(), protocol, record)
            .await;
    }
    if let Err((reason, fault)) = instance.admit_opaque(&mut record) {
        drop(secured);
        let refusal = Refusal { reason: Some(reason), fault, answer: None };
        return fail(instance, record, client, refusal);
    }
    record.dialling(termination.to);
    let dial = Dial { instance, client, upstream: termination.to, direction: Direction::Inbound };
    let second = (local.is_ipv4() == termination.to.0.is_ipv4()).then_some(second);
    let app = match dial.run(second, gone(secured.socket()), patience).await {
        Ok(stream) => Leg::new(stream),
        Err(fault) => {
            drop(secured);
            tracing::debug!(%fault, %client, "connection at the edge was not made");
            return record.fail(fault);
        }
    };
    let idle = limits.idle_timeout;
    match pump(&app, End::Upstream, &mut secured, Truncation::Reset, idle, record.traffic()).await {
        Ok(()) => {
            app.end();
            drop(secured);
            record.close();
        }
        Err(Broken { end, doing, source }) => {
            drop(app);
            drop(secured);
            let fault = Fault::new(blame(end, Direction::Inbound), doing, source);
            tracing::debug!(%fault, %client, "connection at the edge broke");
            record.fail(fault);
        }
    }
    drop(seat);
}

/// What the client speaks and what the app does, if requests are to be looked at: where HTTP is looked for at all, where policy
/// wants to know what is asked, and where the client was promised HTTP/2, which not every app speaks.
fn spoken(
    secured: &Terminated,
    termination: &Termination,
    admitted: &Admitted,
    terms: &HttpTerms,
) -> Option<(Protocol, Protocol)> {
    let app = termination.app?;
    let looked_at = terms.inbound != Looking::Off || matches!(admitted, Admitted::ByContent);
    match (secured.stream.get_ref().1.alpn_protocol(), app) {
        (Some(b"h2"), app) => Some((Protocol::Http2, app)),
        (_, Protocol::Http1) if looked_at => Some((Protocol::Http1, app)),
        _ => None,
    }
}

/// How far `client` may come in by `local`. Whoever is in the workload itself may: no hook of the kernel asks for it either.
fn admit(
    instance: &Instance,
    client: ClientAddr,
    local: OriginalDst,
    record: &mut Record,
) -> Result<Admitted, Refusal> {
    if client.0.ip().is_loopback() || client.0.ip() == local.0.ip() {
        record.exempt();
        return Ok(Admitted::Fully);
    }
    let refused = |reason, fault| Refusal { reason: Some(reason), fault, answer: None };
    match instance.admit(record).map_err(|(reason, fault)| refused(reason, fault))? {
        // Probes are for the app's own ports.
        Admitted::Probing(_, why) => {
            let caller = Caller { identity: None, client };
            let fault = why.fault("admit connection", caller, local);
            record.refused_by(why.decided);
            Err(refused(why.reason, fault))
        }
        admitted @ (Admitted::Fully | Admitted::ByContent) => Ok(admitted),
    }
}

/// A client's connection, which is reset when it is closed before it was told that all has been said.
struct Terminated {
    stream: TlsStream<TcpStream>,
    told: bool,
}

impl Terminated {
    fn socket(&self) -> &TcpStream {
        self.stream.get_ref().0
    }
}

impl AsyncRead for Terminated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Terminated {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        self.told = true;
        Poll::Ready(Ok(()))
    }
}

impl Drop for Terminated {
    fn drop(&mut self) {
        if !self.told {
            // Fails only on a socket that is already gone, which the other end has noticed by then.
            let _ = self.socket().set_zero_linger();
        }
    }
}
