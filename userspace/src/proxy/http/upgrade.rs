//! What stops being HTTP: upgrades such as WebSocket, and CONNECT.
//!
//! Bytes are passed on only once the upstream has agreed with 101 (or 2xx to a CONNECT): what a client sends before that
//! would be requests to an upstream that does not, which nobody would have looked at.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, Version};
use hyper::rt::Write;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;

use super::heads::{hides_requests, is_upgrade};
use super::io::Io;
use super::telling::Telling;
use crate::proxy::relay;

/// What a request wants to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// An answered request.
    Answer,
    /// Something else, by an Upgrade field.
    Upgrade,
    /// A connection to somewhere.
    Connect,
}

impl Wish {
    pub(super) fn of(request: &Parts) -> Self {
        let headers = &request.headers;
        if request.version != Version::HTTP_11 && request.version != Version::HTTP_10 {
            return Self::Answer;
        }
        if request.method == Method::CONNECT {
            return Self::Connect;
        }
        let has_body = headers.contains_key(TRANSFER_ENCODING)
            || headers
                .get(CONTENT_LENGTH)
                .is_some_and(|length| length.as_bytes().iter().any(|&digit| digit != b'0'));
        let asked = headers.get_all(UPGRADE).iter().any(|value| is_upgrade(value.as_bytes()))
            && !names_hidden(headers);
        // The same question as in `heads`, which lets bytes pass unseen behind such a head.
        if asked && !has_body && request.version == Version::HTTP_11 { Self::Upgrade } else { Self::Answer }
    }

    /// Whether `status` grants it.
    pub(super) fn is_granted_by(self, status: StatusCode) -> bool {
        match self {
            Self::Answer => false,
            Self::Upgrade => status == StatusCode::SWITCHING_PROTOCOLS,
            Self::Connect => status.is_success(),
        }
    }
}

/// Whether an Upgrade field names what requests could hide behind.
pub(super) fn names_hidden(headers: &HeaderMap) -> bool {
    headers.get_all(UPGRADE).iter().any(|value| hides_requests(value.as_bytes()))
}

/// Whether Connection names `upgrade`, without which an Upgrade field means nothing.
pub(super) fn is_named(headers: &HeaderMap) -> bool {
    headers.get_all(CONNECTION).iter().any(|value| {
        value
            .as_bytes()
            .split(|&byte| byte == b',')
            .any(|name| name.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    })
}

/// What requests leave for whoever serves their connection.
#[derive(Default)]
pub(super) struct Agreed(Mutex<Left>);

#[derive(Default)]
struct Left {
    /// The client's end, if a request could have stopped being HTTP.
    client: Option<OnUpgrade>,
    /// The upstream's if one has, and what is told of it.
    upstream: Option<(OnUpgrade, Telling)>,
}

impl Agreed {
    /// A request of the client may stop being HTTP.
    pub(super) fn offer(&self, client: OnUpgrade) {
        self.left().client = Some(client);
    }

    /// It has; the request is over when what it became is.
    pub(super) fn leave(&self, upstream: OnUpgrade, telling: Telling) {
        self.left().upstream = Some((upstream, telling));
    }

    /// The client's end if it was offered, and the upstream's if both agreed.
    pub(super) fn take(&self) -> Option<(OnUpgrade, Option<(OnUpgrade, Telling)>)> {
        let Left { client, upstream } = std::mem::take(&mut *self.left());
        Some((client?, upstream))
    }

    fn left(&self) -> MutexGuard<'_, Left> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes what was left when the connection ends, however it does: what is told of a request keeps all that its connection's
/// parts share, this among it.
pub(super) struct Leaving(pub(super) Arc<Agreed>);

impl Drop for Leaving {
    fn drop(&mut self) {
        drop(self.0.take());
    }
}

/// An end whose HTTP is over: what was read ahead of it, and the rest.
pub(super) struct End {
    io: Io,
    ahead: hyper::body::Bytes,
}

impl End {
    fn of(upgraded: Upgraded) -> Option<Self> {
        let hyper::upgrade::Parts { mut io, read_buf, .. } = upgraded.downcast::<Io>().ok()?;
        io.upgraded();
        Some(Self { io, ahead: read_buf })
    }
}

/// Ends in order what was offered and did not come about: hyper lets go of such a connection without closing it.
pub(super) async fn decline(client: OnUpgrade) -> io::Result<()> {
    let Ok(upgraded) = client.await else { return Ok(()) };
    let Ok(parts) = upgraded.downcast::<Io>() else { return Ok(()) };
    let mut io = parts.io;
    poll_fn(|context| Pin::new(&mut io).poll_shutdown(context)).await
}

/// Waits for both ends and copies between them until both have closed. When one breaks, it says which.
pub(super) async fn carry(
    client: OnUpgrade,
    upstream: OnUpgrade,
    telling: &mut Telling,
) -> Result<(), (relay::End, io::Error)> {
    let near = client.await.map_err(|error| (relay::End::Client, io::Error::other(error)))?;
    let far = upstream.await.map_err(|error| (relay::End::Upstream, io::Error::other(error)))?;
    let (Some(client), Some(upstream)) = (End::of(near), End::of(far)) else { return Ok(()) };
    telling.carrying(client.ahead.len());
    let (mut near, mut far) = (TokioIo::new(client.io), TokioIo::new(upstream.io));
    let copied = async {
        far.write_all(&client.ahead).await?;
        near.write_all(&upstream.ahead).await?;
        tokio::io::copy_bidirectional(&mut near, &mut far).await
    };
    match copied.await {
        Ok(_) => Ok(()),
        Err(error) if far.inner().broke() => Err((relay::End::Upstream, error)),
        Err(error) => Err((relay::End::Client, error)),
    }
}
