//! The accept loop: it never ends because of what a client or a lack of descriptors does to it.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, SockRef, Socket};
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::Entry;
use super::canonical;
use super::connection::{self, Accepted};
use super::edge::{self, Arrived, Edge};
use super::instance::Instance;
use super::leg::Leg;
use super::throttle::Throttle;
use super::tunnel::server::{self, Dialled};
use crate::lasting::Lasting;
use crate::model::ClientAddr;
use crate::sys::ready::watched;
use crate::sys::socket::accept;

/// First pause after accepting failed for want of descriptors or memory; doubled each time.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
/// Longest such pause: what a connection waits in the backlog at most once descriptors are there again.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often a pause is logged.
const LOG_PERIOD: Duration = Duration::from_secs(10);

/// A listener being served. Dropping it closes the listener at once; connections in its backlog are reset.
#[derive(Debug)]
pub struct Listening {
    address: SocketAddr,
    close: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Listening {
    pub(super) fn start(instance: Arc<Instance>, listener: TcpListener, entry: Entry) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        // Accepted sockets inherit it on Linux (they are cloned from the listener), which saves a call for each.
        SockRef::from(&listener).set_tcp_nodelay(true)?;
        let address = canonical(listener.local_addr()?);
        let home = instance.workers.home().clone();
        let listener = {
            let _within = home.enter();
            watched(listener)?
        };
        // What is let in there goes to the app, whoever dials it: a tunnel's connection too.
        if !matches!(entry, Entry::Edge(Edge::Terminate(_))) {
            instance.own.add(address);
        }
        let ours = Ours { instance, address };
        let (close, closed) = oneshot::channel();
        let accepting = Accepting {
            ours,
            listener,
            entry,
            second: None,
            backlog: Backlog::Filled,
            log: Throttle::new(LOG_PERIOD),
        };
        let task = home.spawn(accepting.outlast(closed));
        Ok(Self { address, close: Some(close), task })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts what is already in the backlog, then closes the listener. Its connections live on.
    pub async fn close(mut self) {
        if let Some(close) = self.close.take() {
            // An error means that the loop is gone already.
            let _ = close.send(());
        }
        // An error means that the runtime shuts down, which closes the listener too.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A listener's address, known as our own while this lives.
struct Ours {
    instance: Arc<Instance>,
    address: SocketAddr,
}

impl Drop for Ours {
    fn drop(&mut self) {
        self.instance.own.remove(self.address);
    }
}

struct Accepting {
    ours: Ours,
    listener: AsyncFd<TcpListener>,
    entry: Entry,
    /// The socket for the second leg of the next connection. A connection is accepted only when its second leg has
    /// a descriptor already: when descriptors run out, connections wait in the backlog instead of being accepted and
    /// reset, and a burst cannot take the descriptors that its own dials need.
    second: Option<Socket>,
    backlog: Backlog,
    log: Throttle,
}

/// What is known of the backlog when the runtime last called the listener ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Backlog {
    /// There is a connection in it.
    Filled,
    /// One was taken; there may be more.
    Tapped,
}

impl Accepting {
    /// Accepts until it is asked to close. What panics costs the connection that it was about: those behind it wait in the
    /// backlog meanwhile, and other listeners go on.
    async fn outlast(mut self, mut closed: oneshot::Receiver<()>) {
        let mut lasting = Lasting::new(self.ours.instance.accept_panics());
        while lasting.attempt(self.run(&mut closed)).await.is_none() {
            // Whether the backlog was looked at to its end is not known.
            self.backlog = Backlog::Filled;
        }
        // What breaks takes its connection with it, so that this comes to an end.
        let emptied = loop {
            if let Some(emptied) = lasting.attempt(async { self.empty_backlog() }).await {
                break emptied;
            }
        };
        if let Err(error) = emptied {
            let address = self.ours.address;
            tracing::warn!(%error, listener = %address, "connections left in the backlog of a closed listener are reset");
        }
    }

    /// Accepts until it is asked to close.
    async fn run(&mut self, closed: &mut oneshot::Receiver<()>) {
        let mut pause = SHORTEST_PAUSE;
        loop {
            let admitted = tokio::select! {
                admitted = self.admit_next() => admitted,
                // The sender is never dropped without aborting this task.
                _ = &mut *closed => break,
            };
            match admitted {
                Ok(()) => pause = SHORTEST_PAUSE,
                Err(error) if is_the_clients_own(&error) => {}
                Err(error) => {
                    self.report(&error, pause);
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        _ = &mut *closed => break,
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    async fn admit_next(&mut self) -> io::Result<()> {
        if self.second.is_none() {
            self.second = Some(self.ours.second()?);
        }
        let (stream, peer) = loop {
            let mut ready = self.listener.readable().await?;
            // Looking is cheap; an accept in vain has the kernel make a socket and a file first.
            if self.backlog == Backlog::Tapped && !is_readable(self.listener.get_ref())? {
                ready.clear_ready();
                self.backlog = Backlog::Filled;
                continue;
            }
            self.backlog = Backlog::Tapped;
            if let Ok(accepted) = ready.try_io(|listener| accept(listener.get_ref())) {
                break accepted?;
            }
            self.backlog = Backlog::Filled;
        };
        if let Some(second) = self.second.take() {
            self.ours.admit(stream, peer, second, &self.entry)?;
        }
        // The connection dials before we prepare for the next.
        let_others_run().await;
        Ok(())
    }

    /// Takes what had been queued before the listener was asked to close.
    ///
    /// By plain system calls: the runtime may not have noticed yet what the kernel has queued already.
    fn empty_backlog(&self) -> io::Result<()> {
        loop {
            match accept(self.listener.get_ref()) {
                Ok((stream, peer)) => {
                    let second = self.ours.second()?;
                    self.ours.admit(stream, peer, second, &self.entry)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if is_the_clients_own(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn report(&self, error: &io::Error, pause: Duration) {
        self.ours.instance.count_backoff();
        if let Some(held_back) = self.log.admit(Instant::now()) {
            tracing::warn!(
                %error,
                listener = %self.ours.address,
                pause_ms = pause.as_millis(),
                held_back,
                "cannot accept connections, they wait in the backlog; if descriptors ran out, raise the limit on open \
                 files (ulimit -n) or lower relay.max-connections"
            );
        }
    }
}

impl Ours {
    /// A socket of the listener's own family: what comes in over IPv4 mostly goes on over IPv4.
    fn second(&self) -> io::Result<Socket> {
        self.instance.socket(Domain::for_address(self.address))
    }

    fn admit(
        &self,
        stream: std::net::TcpStream,
        peer: SocketAddr,
        second: Socket,
        entry: &Entry,
    ) -> io::Result<()> {
        let seat = self.instance.workers.seat();
        let runtime = seat.runtime().clone();
        let stream = {
            let _within = runtime.enter();
            TcpStream::from_std(stream)?
        };
        let client = ClientAddr(canonical(peer));
        if let Entry::Edge(edge) = entry {
            let local = canonical(stream.local_addr()?);
            let arrived = Arrived { seat, stream, second, client, local };
            if let Some(full) = self.instance.full(self.instance.active()) {
                self.instance.count_over_limit();
                edge::turn_away(&self.instance, edge, arrived, full);
            } else {
                self.instance.spawn(&runtime, |alive| edge::serve(alive, edge.clone(), arrived));
            }
            return Ok(());
        }
        if matches!(entry, Entry::Tunnel) {
            // The connections within dial for themselves.
            drop(second);
            let local = canonical(stream.local_addr()?);
            let dialled = Dialled { seat, stream, client, local };
            if let Some(full) = self.instance.full(self.instance.open_tunnels()) {
                self.instance.count_over_limit();
                server::turn_away(&self.instance, dialled, full);
            } else {
                self.instance.spawn_tunnel(&runtime, |alive| server::serve(alive, dialled));
            }
            return Ok(());
        }
        let direction = entry.direction();
        let accepted =
            Accepted { seat, leg: Leg::new(stream), second, client, listener: self.address, direction };
        if let Some(full) = self.instance.full(self.instance.active()) {
            self.instance.count_over_limit();
            connection::turn_away(&self.instance, accepted, full);
        } else {
            self.instance.spawn(&runtime, |alive| connection::serve(alive, accepted));
        }
        Ok(())
    }
}

/// Whether a read, or an accept, would find something.
fn is_readable(socket: impl AsFd) -> io::Result<bool> {
    let found = poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO)?;
    Ok(found > 0)
}

/// Lets every task run that is ready now. Unlike tokio's `yield_now`, it does not have the runtime look for events first.
async fn let_others_run() {
    let mut waited = false;
    poll_fn(|context| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Whether accept(2) reports what befell one connection in the backlog, so that the next one is to be tried at once.
///
/// Linux hands pending network errors of the new socket to accept (accept(2), "Error handling"). Errors that can
/// stay, such as a security module's EPERM, are not among them: trying again at once would spin.
fn is_the_clients_own(error: &io::Error) -> bool {
    let Some(number) = error.raw_os_error() else { return false };
    matches!(
        Errno::from_raw(number),
        Errno::ECONNABORTED
            | Errno::ECONNRESET
            | Errno::EINTR
            | Errno::EPROTO
            | Errno::ENETDOWN
            | Errno::ENOPROTOOPT
            | Errno::EHOSTDOWN
            | Errno::ENONET
            | Errno::EHOSTUNREACH
            | Errno::ENETUNREACH
            | Errno::ETIMEDOUT
    )
}
