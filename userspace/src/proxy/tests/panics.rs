//! Panics: what they cost, and that others go on.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// An observer that panics when it is told of the next connections.
#[derive(Default)]
struct Fragile {
    panics: AtomicUsize,
    seen: Seen,
}

impl Observer for Fragile {
    fn opened(&self, direction: Direction) {
        let left = self.panics.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        assert!(left.is_err(), "told to panic");
        self.seen.opened(direction);
    }

    fn ended(&self, ended: Ended) {
        self.seen.ended(ended);
    }

    fn exchanged(&self, exchange: Exchange) {
        self.seen.exchanged(exchange);
    }
}

/// An instance with that observer, which serves on the workers of everybody here.
async fn fragile(workers: Workers) -> (Arc<Instance>, Listening, Arc<Fragile>) {
    let fragile = Arc::new(Fragile::default());
    let handoffs = Fixed { destination: Mutex::new(Some(echo().await)), ..Fixed::default() };
    let surroundings = Surroundings {
        handoffs: Arc::new(handoffs),
        observer: fragile.clone(),
        admission: Arc::new(Admitted::default()),
        tunnelling: None,
        workers,
        network: NetworkNamespace::own(),
        addresses: OwnAddresses::default(),
        finder: None,
        room: None,
    };
    let instance = Instance::new(LIMITS, surroundings);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listening = instance.serve(listener, Entry::Outbound).unwrap();
    (instance, listening, fragile)
}

/// Whether a connection to `address` is served.
async fn is_served(address: SocketAddr) -> bool {
    // A reset may be quicker than whoever connects.
    let Ok(mut client) = within(TcpStream::connect(address)).await else { return false };
    client.write_all(b"x").await.is_ok() && within(client.read_u8()).await.is_ok_and(|heard| heard == b'x')
}

fn counted(instance: &Instance) -> [(&'static str, u64); 2] {
    instance.panics().map(|panics| (panics.task(), panics.count()))
}

#[tokio::test]
async fn an_accept_loop_that_panics_goes_on_with_the_next_connection() {
    let threads = super::super::Threads::start(1).unwrap();
    let (instance, listening, observer) = fragile(threads.workers()).await;
    let (other, others, _) = fragile(threads.workers()).await;
    // What is turned away is told by the accept loop itself.
    instance.set_limits(Limits { max_connections: 0, ..LIMITS });
    observer.panics.store(5, Ordering::Relaxed);
    for _ in 0..5 {
        assert!(!is_served(listening.address()).await, "it is reset");
        assert!(is_served(others.address()).await, "another instance on the same thread goes on");
    }
    assert_eq!(counted(&instance), [("accept", 5), ("connection", 0)]);
    assert!(!is_served(listening.address()).await, "it is turned away in order");
    assert_eq!(instance.over_limit(), 6);
    instance.set_limits(LIMITS);
    assert!(is_served(listening.address()).await);
    assert_eq!(counted(&other), [("accept", 0), ("connection", 0)]);
    // A closed one breaks no more, and is closed.
    observer.panics.store(usize::MAX, Ordering::Relaxed);
    let address = listening.address();
    within(listening.close()).await;
    assert!(TcpStream::connect(address).await.is_err(), "the listener is still there");
}

#[tokio::test]
async fn connections_queued_behind_one_that_panics_are_served_at_the_close() {
    let (instance, listening, observer) = fragile(Workers::here()).await;
    instance.set_limits(Limits { max_connections: 0, ..LIMITS });
    observer.panics.store(3, Ordering::Relaxed);
    let address = listening.address();
    // Not one await between these connects and the close: the accept loop has not run when it is asked to end.
    let queued: Vec<_> = (0..8).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    within(listening.close()).await;
    assert_eq!(counted(&instance), [("accept", 3), ("connection", 0)]);
    assert_eq!(instance.over_limit(), 8, "each was looked at");
    drop(queued);
}

#[tokio::test]
async fn a_connection_that_panics_is_reset_and_counted_and_is_the_only_one() {
    let threads = super::super::Threads::start(1).unwrap();
    let (instance, listening, observer) = fragile(threads.workers()).await;
    let mut open = within(TcpStream::connect(listening.address())).await.unwrap();
    open.write_all(b"x").await.unwrap();
    within(open.read_u8()).await.unwrap();
    observer.panics.store(3, Ordering::Relaxed);
    for _ in 0..3 {
        assert!(!is_served(listening.address()).await);
    }
    assert!(is_served(listening.address()).await);
    open.write_all(b"y").await.unwrap();
    assert_eq!(within(open.read_u8()).await.unwrap(), b'y', "what was open stays open");
    assert_eq!(counted(&instance), [("accept", 0), ("connection", 3)]);
    drop(open);
    within(instance.idle()).await;
}
