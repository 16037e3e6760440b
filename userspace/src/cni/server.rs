//! The agent's end of the socket: hears the node's runtime, and hands on what it asks for.
//!
//! A successor puts its own socket in place by a rename, so that the name is never without one that answers; what still waited
//! at the old one is asked again at the new. Requests about one container are answered one after the other.

mod outcomes;
mod turns;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::attachment::{Attachment, Detached, Enrol, Refusal, RefusalKind};
use super::peer::{self, Stranger};
use super::wire::{self, Answer, PREFIX, Request, Subject};
use crate::sys::own_socket::OwnSocket;
use crate::sys::rights;

pub use outcomes::{Asked, Outcome, Outcomes};
use turns::Turns;

/// Requests under way at once; more wait in the backlog. A node starts a few pods at a time.
const REQUESTS: usize = 256;
/// How long a plugin may take to say what it wants, and to hear the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause after accepting failed for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);
/// How often strangers are told of; all are counted.
const TELLING: Duration = Duration::from_secs(10);

/// A socket that is heard. Dropping it stops at once, and takes the socket away unless it is a successor's.
#[derive(Debug)]
pub struct Serving {
    outcomes: Arc<Outcomes>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
    _socket: OwnSocket,
}

/// Hears the plugins at `path`, in place of whoever did before. Within a runtime.
///
/// # Errors
/// The directory is somebody else's, or cannot be written to.
pub fn serve(path: &Path, enrol: Arc<dyn Enrol>) -> io::Result<Serving> {
    let (listener, socket) = OwnSocket::listen(path)?;
    let outcomes = Arc::new(Outcomes::default());
    let (stop, stopped) = oneshot::channel();
    let counter = Arc::new(Counter { enrol, outcomes: Arc::clone(&outcomes), turns: Turns::default() });
    let task = tokio::spawn(accept(listener, counter, stopped));
    Ok(Serving { outcomes, stop: Some(stop), task, _socket: socket })
}

impl Serving {
    /// What has been asked so far, and what came of it.
    #[must_use]
    pub fn outcomes(&self) -> Arc<Outcomes> {
        Arc::clone(&self.outcomes)
    }

    /// Hears nobody any more, and waits until what has been asked for is answered.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        // It ends by itself, and does not panic.
        let _: Result<_, _> = (&mut self.task).await;
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Accepts until told to stop, and then waits for the rest.
async fn accept(listener: UnixListener, counter: Arc<Counter>, mut stopped: oneshot::Receiver<()>) {
    let room = Arc::new(Semaphore::new(REQUESTS));
    let mut serving = JoinSet::new();
    let mut told = None;
    loop {
        let accepted = tokio::select! {
            _ = &mut stopped => break,
            accepted = async {
                // The semaphore is never closed.
                let permit = Arc::clone(&room).acquire_owned().await;
                (permit, listener.accept().await)
            } => accepted,
        };
        while serving.try_join_next().is_some() {}
        let (permit, Ok((stream, _))) = accepted else {
            sleep(PAUSE).await;
            continue;
        };
        if let Err(stranger) = peer::is_runtime(&stream) {
            counter.outcomes.count(Outcome::Stranger);
            let now = tokio::time::Instant::now();
            if told.is_none_or(|told| now.duration_since(told) > TELLING) {
                told = Some(now);
                tracing::warn!(%stranger, "somebody who is no runtime of this node asks at the CNI socket");
            }
            turn_away(&stream, &stranger);
            continue;
        }
        let counter = Arc::clone(&counter);
        serving.spawn(async move {
            counter.attend(stream).await;
            drop(permit);
        });
    }
    drop(listener);
    while serving.join_next().await.is_some() {}
}

/// Says no without having read anything. What is said fits into the socket, and who does not read it is not waited for.
fn turn_away(stream: &UnixStream, stranger: &Stranger) {
    let refusal = Refusal::new(RefusalKind::Unservable, format!("not heard: {stranger}"));
    if let Ok(message) = wire::encode(Answer::Refused(refusal)) {
        let _: io::Result<usize> = rights::send(stream, &message, None);
    }
}

/// Where requests are answered.
struct Counter {
    enrol: Arc<dyn Enrol>,
    outcomes: Arc<Outcomes>,
    turns: Turns,
}

impl Counter {
    async fn attend(&self, mut stream: UnixStream) {
        let heard = match timeout(PATIENCE, hear(&mut stream)).await {
            Ok(heard) => heard,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let answer = match heard {
            Ok((request, passed)) => self.answer(&mut stream, request, passed).await,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Outcome::Abandoned),
            Err(error) => {
                tracing::warn!(%error, "a request at the CNI socket is not understood");
                self.outcomes.count(Outcome::Invalid);
                Ok(Answer::Refused(Refusal::new(RefusalKind::TryAgain, error)))
            }
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(outcome) => return self.outcomes.count(outcome),
        };
        let Ok(message) = wire::encode(&answer) else { return };
        // A plugin that does not wait any more has nothing to hear.
        let _: Result<_, _> = timeout(PATIENCE, stream.write_all(&message)).await;
    }

    /// Does what is asked for when its turn comes; not if nobody waits for it by then.
    async fn answer(
        &self,
        stream: &mut UnixStream,
        request: Request,
        passed: Vec<OwnedFd>,
    ) -> Result<Answer, Outcome> {
        let turn = match &request {
            Request::Add(subject) | Request::Check(subject) | Request::Delete(subject) => {
                let turn = self.turns.wait(&subject.id.container_id);
                tokio::select! {
                    biased;
                    turn = turn => Some(turn),
                    () = gone(stream) => return Err(Outcome::Abandoned),
                }
            }
            Request::Gc { .. } | Request::Status => None,
        };
        let (asked, outcome) = self.perform(request, passed).await;
        drop(turn);
        self.outcomes.count(if outcome.is_ok() { Outcome::Done(asked) } else { Outcome::Refused(asked) });
        Ok(outcome.map_or_else(Answer::Refused, |()| Answer::Done))
    }

    async fn perform(&self, request: Request, passed: Vec<OwnedFd>) -> (Asked, Result<(), Refusal>) {
        match request {
            Request::Add(subject) => (
                Asked::Add,
                match attachment(subject, passed) {
                    Ok(attachment) => self.enrol.add(attachment).await,
                    Err(refusal) => Err(refusal),
                },
            ),
            Request::Check(subject) => (
                Asked::Check,
                match attachment(subject, passed) {
                    Ok(attachment) => self.enrol.check(attachment).await,
                    Err(refusal) => Err(refusal),
                },
            ),
            Request::Delete(subject) => {
                let gone = Detached {
                    id: subject.id,
                    network: subject.network,
                    netns_path: subject.netns_path,
                    pod: subject.pod.map(Into::into),
                };
                (Asked::Delete, self.enrol.delete(gone).await)
            }
            Request::Gc { network, valid } => (Asked::Gc, self.enrol.gc(network, valid).await),
            Request::Status => (Asked::Status, self.enrol.status().await),
        }
    }
}

/// What a request says, if it comes with the one descriptor that it needs.
fn attachment(subject: Subject, passed: Vec<OwnedFd>) -> Result<Attachment, Refusal> {
    let refused = |message: &str| Refusal::new(RefusalKind::Unservable, message);
    let Ok([netns]) = <[OwnedFd; 1]>::try_from(passed) else {
        return Err(refused("expected one descriptor with the request"));
    };
    if !rights::is_network_namespace(netns.as_fd()) {
        return Err(refused("expected a network namespace in CNI_NETNS, found something else"));
    }
    let (Some(pod), Some(netns_path)) = (subject.pod, subject.netns_path) else {
        return Err(refused("expected the names of a pod and of its network namespace"));
    };
    Ok(Attachment {
        id: subject.id,
        network: subject.network,
        netns,
        netns_path,
        pod: pod.into(),
        uid: subject.uid,
        addresses: subject.addresses,
    })
}

/// Reads one request, and takes the descriptors that came with it.
async fn hear(stream: &mut UnixStream) -> io::Result<(Request, Vec<OwnedFd>)> {
    let mut prefix = [0; PREFIX];
    let mut passed = Vec::new();
    fill(stream, &mut prefix, &mut passed).await?;
    let mut body = vec![0; wire::length(prefix)?];
    fill(stream, &mut body, &mut passed).await?;
    Ok((wire::decode(&body)?, passed))
}

async fn fill(stream: &UnixStream, mut into: &mut [u8], passed: &mut Vec<OwnedFd>) -> io::Result<()> {
    while !into.is_empty() {
        let (read, more) = stream.async_io(Interest::READABLE, || rights::receive(stream, into)).await?;
        passed.extend(more);
        // One is needed, and nobody has to have room for more than a few.
        if passed.len() > 1 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "expected one descriptor, found more"));
        }
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        into = &mut into[read..];
    }
    Ok(())
}

/// Until the plugin at the other end is no more. It says nothing after its request.
async fn gone(stream: &mut UnixStream) {
    let _: io::Result<usize> = stream.read(&mut [0]).await;
}
