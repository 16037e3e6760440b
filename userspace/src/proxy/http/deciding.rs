//! The look at both ends of a connection, until it is known what is spoken on it.
//!
//! It consumes nothing and carries nothing: [`super::intake`] does what is decided here.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Sleep;

use super::detect::{Leaning, Seen};
use super::dialling::Far;
use super::peek::{Near, Peeker, Spoken, Upstream};
use crate::model::{Direction, Fault, Protocol};
use crate::proxy::connection::blame;
use crate::proxy::relay::End;

/// How long bytes are waited for that may still become HTTP, but do not look like it.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);

/// What a connection turned out to be.
pub(super) enum Decision {
    Http(Protocol),
    /// HTTP/1, of whose first line a part is missing that was waited for.
    Slow,
    Pass(Protocol, Option<Box<str>>),
    /// It is ended.
    Ended(Fault),
}

/// Who spoke first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    Client,
    Server,
    Nobody,
}

/// The look at both ends.
pub(super) struct Deciding<'a> {
    pub(super) near: &'a mut Near,
    pub(super) far: &'a mut Option<Result<Far, Fault>>,
    pub(super) peeker: &'a mut Peeker,
    pub(super) direction: Direction,
    pub(super) demanded: bool,
    /// How long the head of a request may take from its first byte.
    pub(super) whole: Duration,
}

impl Deciding<'_> {
    /// Decides; also who spoke first.
    pub(super) async fn run(
        self,
        mut dialling: Pin<&mut impl Future<Output = Result<Far, Fault>>>,
        mut limit: Pin<&mut Sleep>,
    ) -> (Decision, First) {
        let Self { near, far, peeker, direction, demanded, whole } = self;
        let (mut hopeless, mut watching) = (None, !demanded);
        poll_fn(|context| {
            match peeker.poll(near, context) {
                Poll::Ready(Ok(spoken)) => {
                    return Poll::Ready((decide(spoken, demanded, direction), First::Client));
                }
                Poll::Ready(Err(source)) => {
                    let fault = Fault::new(blame(End::Client, direction), "read from client", source);
                    return Poll::Ready((Decision::Ended(fault), First::Nobody));
                }
                Poll::Pending => {}
            }
            if far.is_none()
                && let Poll::Ready(reached) = dialling.as_mut().poll(context)
            {
                *far = Some(reached);
            }
            if watching
                && let Some(Ok(far)) = far
                && let Poll::Ready(does) = Upstream::poll(far, context)
            {
                match does {
                    Upstream::Speaks => {
                        return Poll::Ready((Decision::Pass(Protocol::Opaque, None), First::Server));
                    }
                    Upstream::Ends => {
                        return Poll::Ready((Decision::Pass(Protocol::Opaque, None), First::Nobody));
                    }
                    Upstream::Http2 => watching = false,
                }
            }
            if hopeless.is_none() && matches!(far, Some(Err(_))) {
                hopeless = Some(tokio::time::Instant::now());
            }
            let leaning = peeker.leaning();
            let patience = match leaning {
                Leaning::Beginning => whole,
                Leaning::Neither if demanded => whole,
                Leaning::Request | Leaning::Neither => PATIENCE.min(whole),
            };
            let due = peeker.since().or(hopeless).map(|since| since + patience);
            if let Some(due) = due
                && limit.deadline() != due
            {
                limit.as_mut().reset(due);
            }
            if limit.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            let decision = match leaning {
                // Whoever serves it says that it took too long.
                Leaning::Request | Leaning::Beginning => Decision::Slow,
                Leaning::Neither if due.is_some() && !demanded => Decision::Pass(Protocol::Opaque, None),
                Leaning::Neither => {
                    let silent = io::Error::new(
                        io::ErrorKind::TimedOut,
                        "the client did not say what it wants in time",
                    );
                    Decision::Ended(Fault::new(blame(End::Client, direction), "read from client", silent))
                }
            };
            Poll::Ready((decision, First::Nobody))
        })
        .await
    }
}

fn decide(spoken: Spoken, demanded: bool, direction: Direction) -> Decision {
    let Spoken { seen, server_name } = spoken;
    match (seen, demanded) {
        (Seen::Http1, _) => Decision::Http(Protocol::Http1),
        (Seen::Http2, _) => Decision::Http(Protocol::Http2),
        (_, true) => {
            let other = io::Error::new(
                io::ErrorKind::InvalidData,
                "expected HTTP, as the port is declared to speak, found something else; declare what it speaks \
                 (http.ports, or the name or appProtocol of the service's port)",
            );
            Decision::Ended(Fault::new(blame(End::Client, direction), "admit connection", other))
        }
        (Seen::Tls, _) => Decision::Pass(Protocol::Tls, server_name),
        (Seen::Opaque | Seen::Undecided, _) => Decision::Pass(Protocol::Opaque, None),
    }
}
