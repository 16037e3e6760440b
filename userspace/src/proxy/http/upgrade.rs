//! What stops being HTTP: upgrades such as WebSocket, and CONNECT.
//!
//! Bytes are passed on only once the upstream has agreed with 101 (or 2xx to a CONNECT): what a client sends before that
//! would be requests to an upstream that does not, which nobody would have looked at.

use std::sync::{Mutex, PoisonError};

use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, Version};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;

use super::heads::is_upgrade;
use super::io::Io;

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
            || headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
        let asked = headers.get_all(UPGRADE).iter().any(|value| is_upgrade(value.as_bytes()));
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

/// Whether Connection names `upgrade`, without which an Upgrade field means nothing.
pub(super) fn is_named(headers: &HeaderMap) -> bool {
    headers.get_all(CONNECTION).iter().any(|value| {
        value
            .as_bytes()
            .split(|&byte| byte == b',')
            .any(|name| name.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    })
}

/// Both ends of what was agreed on, left by the request for whoever serves the connection.
#[derive(Default)]
pub(super) struct Agreed(Mutex<Option<(OnUpgrade, OnUpgrade)>>);

impl Agreed {
    pub(super) fn leave(&self, client: OnUpgrade, upstream: OnUpgrade) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((client, upstream));
    }

    pub(super) fn take(&self) -> Option<(OnUpgrade, OnUpgrade)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
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

/// Waits for both ends and copies between them until both have closed.
pub(super) async fn carry(client: OnUpgrade, upstream: OnUpgrade) -> std::io::Result<()> {
    let (client, upstream) = tokio::try_join!(client, upstream).map_err(std::io::Error::other)?;
    let (Some(client), Some(upstream)) = (End::of(client), End::of(upstream)) else { return Ok(()) };
    let (mut near, mut far) = (TokioIo::new(client.io), TokioIo::new(upstream.io));
    far.write_all(&client.ahead).await?;
    near.write_all(&upstream.ahead).await?;
    tokio::io::copy_bidirectional(&mut near, &mut far).await?;
    Ok(())
}
