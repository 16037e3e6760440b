//! Copies of requests that are sent elsewhere too: nobody waits for them, and nobody sees what comes of them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;

use super::body::Upload;
use super::front::Front;
use super::pool::{Key, Sender};
use super::replay::Replay;
use crate::model::Protocol;
use crate::proxy::route;
use crate::routing::{Backing, Mirror, Routes};

/// Copies that are under way at a time; one more is left out.
const MOST: usize = 64;
/// How long a copy may take, its body's arrival included.
const PATIENCE: Duration = Duration::from_secs(15);
/// Bytes of an answer that are read so that its connection can be used again.
const ANSWER: usize = 1 << 20;

/// Copies under way.
#[derive(Debug, Default)]
pub(super) struct Mirroring(AtomicUsize);

/// One copy under way, until it is dropped.
struct Place(Arc<Mirroring>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Mirroring {
    fn place(self: &Arc<Self>) -> Option<Place> {
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(self));
        (before < MOST).then_some(place)
    }
}

/// Sends a copy of a request, whose body is `replay` if it has one. A body that is too long to be kept is not copied, and
/// neither is its request.
pub(super) fn send(
    front: &Arc<Front>,
    routes: &Routes,
    mirror: &Mirror,
    head: Request<()>,
    replay: Option<Arc<Replay>>,
) {
    let instance = &front.instance;
    let Backing::Service(to) = &mirror.to else { return };
    let Some((service, port)) = routes.resolve(to) else { return };
    let Some(place) = instance.resilience.mirroring.place() else {
        tracing::debug!(%to, "a request is not mirrored: as many copies as allowed are under way");
        return;
    };
    let address = |endpoint: &IpAddr| SocketAddr::new(*endpoint, port.target_port);
    let Some(picked) = instance.balance.pick(&service.endpoints, address) else { return };
    let route = route::toward(&instance.neighbours(), Arc::clone(service), picked);
    let front = Arc::clone(front);
    let runtime = front.seat.runtime().clone();
    Arc::clone(instance).spawn_upstream(&runtime, |alive| async move {
        let copied = tokio::time::timeout(PATIENCE, copy(&front, &route, head, replay)).await;
        tracing::debug!(outcome = copied.unwrap_or("it took too long"), "mirrored a request");
        drop((place, route, alive));
    });
}

/// Says what came of it.
async fn copy(
    front: &Front,
    route: &route::Route,
    head: Request<()>,
    replay: Option<Arc<Replay>>,
) -> &'static str {
    let body = match &replay {
        None => Upload::empty(),
        Some(replay) => {
            if !replay.whole().await {
                return "its body is too long, or broke off";
            }
            Upload::again(replay, None).0
        }
    };
    let protocol = if head.version() == http::Version::HTTP_2 { Protocol::Http2 } else { Protocol::Http1 };
    let key = Key { way: route.way.clone(), protocol };
    let Ok(mut lent) = front.connection(&key, None).await else { return "nobody was there" };
    let request = head.map(|()| body);
    let sent = match &mut lent.sender {
        Sender::Http1(sender) => sender.send_request(request).await,
        Sender::Http2(sender, _) => sender.send_request(request).await,
    };
    let Ok(mut answer) = sent else { return "it was not answered" };
    let mut bytes = 0;
    while let Some(frame) = answer.body_mut().frame().await {
        let Ok(frame) = frame else { return "its answer broke off" };
        bytes += frame.data_ref().map_or(0, hyper::body::Bytes::len);
        if bytes > ANSWER {
            return "its answer is longer than anybody reads";
        }
    }
    lent.give_back();
    "it was answered"
}
