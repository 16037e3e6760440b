//! The direct ring: a real instance in this process, on loopback, with handoffs that always tell the same
//! destination. What capture does is not tested here.

mod bytes;
mod descriptors;
mod edge;
mod endings;
mod http;
mod lifecycle;
mod panics;
mod pinned;
mod policy;
mod shares;
mod tunnel;

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{
    Admission, Asked, Caller, Entry, Handoffs, Instance, Limits, Listening, Probing, Refused, Surroundings,
    Workers,
};
use crate::model::{
    AmbiguousPath, ClientAddr, Decided, Direction, Ended, Exchange, Identity, Observer, OriginalDst,
    OwnAddresses, Reason,
};
use crate::sys::namespace::NetworkNamespace;

/// How long anything here may take before it counts as not happening.
const PATIENCE: Duration = Duration::from_secs(20);

const LIMITS: Limits = Limits {
    connect_timeout: Duration::from_secs(5),
    idle_timeout: Duration::from_secs(60),
    max_connections: 1000,
    tunnel_idle_timeout: Duration::from_secs(60),
};

/// Handoffs that tell one destination for every socket, or none.
#[derive(Default)]
struct Fixed {
    destination: Mutex<Option<SocketAddr>>,
    left: Mutex<Vec<ClientAddr>>,
    /// Answers inbound connections like `sk_lookup` does, by their local address.
    steered: bool,
}

impl Handoffs for Fixed {
    fn original_destination(&self, _accepted: BorrowedFd<'_>) -> io::Result<Option<(OriginalDst, Reason)>> {
        Ok(self.destination.lock().unwrap().map(|address| (OriginalDst(address), Reason::Rule)))
    }

    fn inbound_destination(
        &self,
        accepted: BorrowedFd<'_>,
        local: SocketAddr,
    ) -> io::Result<Option<(OriginalDst, Reason)>> {
        if self.steered {
            Ok(Some((OriginalDst(local), Reason::Default)))
        } else {
            self.original_destination(accepted)
        }
    }

    fn leave_client(&self, _dialling: BorrowedFd<'_>, client: ClientAddr) -> io::Result<()> {
        self.left.lock().unwrap().push(client);
        Ok(())
    }
}

/// Lets everybody in, or refuses for a reason.
#[derive(Default)]
struct Admitted {
    plain_text: Option<Reason>,
    tunnelled: Option<Reason>,
    /// Where nobody may go.
    denied: Vec<SocketAddr>,
}

impl Admission for Admitted {
    fn admit(&self, caller: Caller<'_>, _original: OriginalDst) -> Result<super::Admitted, Refused> {
        let refused = if caller.identity.is_some() { self.tunnelled } else { self.plain_text };
        refused.map_or(Ok(super::Admitted::Fully), |reason| Err(Refused { reason, decided: None }))
    }

    fn opaque(&self, _caller: Caller<'_>, _original: OriginalDst) -> Decided {
        Decided::default()
    }

    fn request(
        &self,
        _caller: Caller<'_>,
        _original: OriginalDst,
        _asked: Asked<'_>,
    ) -> Result<Decided, AmbiguousPath> {
        Ok(Decided::default())
    }

    fn reads_requests(&self) -> bool {
        false
    }

    fn probes(&self, _caller: Caller<'_>, _original: OriginalDst) -> Option<Arc<dyn Probing>> {
        None
    }

    fn outbound(&self, destination: SocketAddr) -> Result<(), Reason> {
        if self.denied.contains(&destination) { Err(Reason::Rule) } else { Ok(()) }
    }
}

/// An observer that remembers.
#[derive(Default)]
struct Seen {
    opened: Mutex<Vec<Direction>>,
    ended: Mutex<Vec<Ended>>,
    exchanged: Mutex<Vec<Exchange>>,
}

impl Observer for Seen {
    fn opened(&self, direction: Direction) {
        self.opened.lock().unwrap().push(direction);
    }

    fn ended(&self, ended: Ended) {
        self.ended.lock().unwrap().push(ended);
    }

    fn exchanged(&self, exchange: Exchange) {
        self.exchanged.lock().unwrap().push(exchange);
    }
}

/// An instance with one listener, and what it was given.
struct Bench {
    instance: Arc<Instance>,
    listening: Listening,
    handoffs: Arc<Fixed>,
    seen: Arc<Seen>,
}

impl Bench {
    /// An instance whose captured connections all go to `destination`.
    fn start(entry: Entry, limits: Limits, destination: Option<SocketAddr>) -> Self {
        let handoffs = Fixed { destination: Mutex::new(destination), ..Fixed::default() };
        Self::with(entry, limits, handoffs)
    }

    fn with(entry: Entry, limits: Limits, handoffs: Fixed) -> Self {
        Self::on(Workers::here(), entry, limits, handoffs)
    }

    fn on(workers: Workers, entry: Entry, limits: Limits, handoffs: Fixed) -> Self {
        Self::held_to(Arc::new(Admitted::default()), workers, entry, limits, handoffs)
    }

    fn held_to(
        admission: Arc<dyn Admission>,
        workers: Workers,
        entry: Entry,
        limits: Limits,
        handoffs: Fixed,
    ) -> Self {
        let (handoffs, seen) = (Arc::new(handoffs), Arc::new(Seen::default()));
        let surroundings = Surroundings {
            handoffs: handoffs.clone(),
            observer: seen.clone(),
            admission,
            tunnelling: None,
            workers,
            network: NetworkNamespace::own(),
            addresses: OwnAddresses::default(),
            finder: None,
            room: None,
        };
        let instance = Instance::new(limits, surroundings);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listening = instance.serve(listener, entry).unwrap();
        Self { instance, listening, handoffs, seen }
    }

    async fn connect(&self) -> TcpStream {
        within(TcpStream::connect(self.listening.address())).await.unwrap()
    }

    /// The one connection that has ended.
    async fn ended(&self) -> Ended {
        let mut all = self.all_ended(1).await;
        all.pop().unwrap()
    }

    async fn all_ended(&self, count: usize) -> Vec<Ended> {
        eventually(|| self.seen.ended.lock().unwrap().len() >= count).await;
        assert_eq!(self.seen.opened.lock().unwrap().len(), count, "every end belongs to one opening");
        std::mem::take(&mut *self.seen.ended.lock().unwrap())
    }
}

/// An instance before an upstream of the test's own, and one connection through it.
struct Pair {
    bench: Bench,
    client: TcpStream,
    upstream: TcpStream,
}

impl Pair {
    async fn open(limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bench = Bench::start(Entry::Outbound, limits, Some(listener.local_addr().unwrap()));
        let client = bench.connect().await;
        let (upstream, _) = within(listener.accept()).await.unwrap();
        Self { bench, client, upstream }
    }

    /// Proves that bytes pass both ways.
    async fn greet(&mut self) {
        pass(&mut self.client, &mut self.upstream).await;
        pass(&mut self.upstream, &mut self.client).await;
    }
}

async fn pass(from: &mut TcpStream, to: &mut TcpStream) {
    within(from.write_all(b"greeting")).await.unwrap();
    let mut heard = [0; 8];
    within(to.read_exact(&mut heard)).await.unwrap();
    assert_eq!(&heard, b"greeting");
}

/// Bounds a wait.
async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("did not happen in time")
}

/// Waits until `condition` holds.
async fn eventually(condition: impl Fn() -> bool) {
    within(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// An upstream that sends back what it gets.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
    address
}
