//! Two instances on loopback with a tunnel between them: the client's captures, the server's is at an address of its own.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU8, Ordering};

use super::pinned::{Pinned, World};
use super::*;
use crate::model::{
    Directory, DirectoryBuilder, Reach, Service, ServicePort, Side, TUNNEL_PORT, Tier, Verdict, Workload,
};
use crate::proxy::{Neighbours, Tunnelling, Unknown};
use crate::sys::namespace::NetworkNamespace;

/// Another address of loopback for every test, so that all can have the tunnel's port.
fn another_address() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    Ipv4Addr::new(127, 77, std::process::id() as u8, NEXT.fetch_add(1, Ordering::Relaxed)).into()
}

fn identity(name: &str) -> Identity {
    format!("spiffe://cluster.local/ns/shop/sa/{name}").parse().unwrap()
}

/// A side of the tunnel.
pub(super) struct Half {
    pub(super) instance: Arc<Instance>,
    listening: Listening,
    pub(super) seen: Arc<Seen>,
    handoffs: Arc<Fixed>,
    credentials: Arc<Pinned>,
}

impl Half {
    fn start(
        world: &Arc<World>,
        name: &str,
        entry: Entry,
        at: SocketAddr,
        limits: Limits,
        admitted: Admitted,
    ) -> Self {
        let (handoffs, seen) = (Arc::new(Fixed::default()), Arc::new(Seen::default()));
        let credentials = Pinned::new(world, &identity(name));
        let tunnelling = Tunnelling { credentials: credentials.clone(), workload: format!("{name}-0") };
        let surroundings = Surroundings {
            handoffs: handoffs.clone(),
            observer: seen.clone(),
            admission: Arc::new(admitted),
            tunnelling: Some(tunnelling),
            workers: Workers::here(),
            network: NetworkNamespace::own(),
            addresses: OwnAddresses::default(),
            finder: None,
            room: None,
        };
        let instance = Instance::new(limits, surroundings);
        let listening = instance.serve(std::net::TcpListener::bind(at).unwrap(), entry).unwrap();
        Self { instance, listening, seen, handoffs, credentials }
    }

    pub(super) async fn ended(&self) -> Ended {
        eventually(|| !self.seen.ended.lock().unwrap().is_empty()).await;
        self.seen.ended.lock().unwrap().pop().unwrap()
    }
}

/// Both sides, and the address of the server's workload.
pub(super) struct Mesh {
    pub(super) client: Half,
    pub(super) server: Half,
    address: IpAddr,
}

impl Mesh {
    pub(super) fn start() -> Self {
        Self::with(LIMITS, Admitted::default(), "db")
    }

    /// A mesh whose directory says that the server is `expected`; it is `db`.
    fn with(limits: Limits, admitted: Admitted, expected: &str) -> Self {
        let (world, address) = (Arc::new(World::default()), another_address());
        let server =
            Half::start(&world, "db", Entry::Tunnel, SocketAddr::new(address, TUNNEL_PORT), limits, admitted);
        let anywhere = "127.0.0.1:0".parse().unwrap();
        let client = Half::start(&world, "web", Entry::Outbound, anywhere, limits, Admitted::default());
        let directory = directory(address, expected);
        client.instance.set_neighbours(Neighbours::new(Arc::new(directory), Unknown::Relay));
        Self { client, server, address }
    }

    /// An app of the server's workload.
    pub(super) async fn app(&self) -> TcpListener {
        TcpListener::bind((self.address, 0)).await.unwrap()
    }

    /// A connection that was captured on its way to `destination`.
    pub(super) async fn connect(&self, destination: SocketAddr) -> TcpStream {
        *self.client.handoffs.destination.lock().unwrap() = Some(destination);
        within(TcpStream::connect(self.client.listening.address())).await.unwrap()
    }

    /// A connection through the tunnel: client's end and app's.
    async fn pair(&self, app: &TcpListener) -> (TcpStream, TcpStream) {
        let mut client = self.connect(app.local_addr().unwrap()).await;
        let (mut served, _) = within(app.accept()).await.unwrap();
        pass(&mut client, &mut served).await;
        (client, served)
    }
}

fn directory(address: IpAddr, name: &str) -> Directory {
    let mut builder = DirectoryBuilder::default();
    let workload = Workload {
        name: format!("{name}-0"),
        identity: identity(name),
        addresses: vec![address],
        reach: Reach::Tunnel,
        node: None,
    };
    builder.workload(workload).unwrap();
    builder.build()
}

/// Hears until the end of the stream.
async fn hear_all(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut heard = Vec::new();
    within(stream.read_to_end(&mut heard)).await.map(|_| heard)
}

#[tokio::test]
async fn bytes_go_both_ways_and_both_sides_know_both_identities() {
    let mesh = Mesh::start();
    let app = mesh.app().await;
    let (mut client, mut served) = mesh.pair(&app).await;
    pass(&mut served, &mut client).await;
    let client_address = client.local_addr().unwrap();
    drop(client);
    assert_eq!(hear_all(&mut served).await.unwrap(), b"");
    drop(served);
    let (out, within) = (mesh.client.ended().await, mesh.server.ended().await);
    for ended in [&out, &within] {
        assert!(ended.fault.is_none(), "{ended:?}");
        assert_eq!((ended.tier, ended.verdict), (Tier::Tunnel, Verdict::Proxy));
        assert_eq!(ended.source_identity, Some(identity("web")));
        assert_eq!(ended.destination_identity, Some(identity("db")));
        assert_eq!((ended.traffic.sent, ended.traffic.received), (8, 8));
        assert_eq!(ended.original.unwrap().0, app.local_addr().unwrap());
    }
    assert_eq!(out.trace_id, within.trace_id);
    assert!(out.trace_id.is_some());
    assert_eq!(out.upstream.unwrap().0, SocketAddr::new(mesh.address, TUNNEL_PORT));
    assert_eq!(
        (out.peer_workload.as_deref(), within.peer_workload.as_deref()),
        (Some("shop/db-0"), Some("shop/web-0"))
    );
    // The client dialled from 127.0.0.1, as the tunnel did: its own port is what the app sees.
    assert_eq!(mesh.server.handoffs.left.lock().unwrap()[0].0, client_address);
}

#[tokio::test]
async fn a_burst_of_connections_shakes_hands_once() {
    let mesh = Mesh::start();
    let app = mesh.app().await;
    let mut clients = Vec::new();
    for _ in 0..80 {
        clients.push(mesh.connect(app.local_addr().unwrap()).await);
    }
    let mut served = Vec::new();
    for _ in 0..80 {
        served.push(within(app.accept()).await.unwrap());
    }
    let (dialled, accepted) = (mesh.client.instance.tunnel_counts(), mesh.server.instance.tunnel_counts());
    assert_eq!((dialled.dialled, accepted.accepted), (1, 1));
    // More than one connection takes is another connection's.
    for _ in 0..40 {
        clients.push(mesh.connect(app.local_addr().unwrap()).await);
        served.push(within(app.accept()).await.unwrap());
    }
    assert_eq!(mesh.client.instance.tunnel_counts().dialled, 2);
}

#[tokio::test]
async fn each_side_may_end_first_and_the_other_goes_on() {
    let mesh = Mesh::start();
    let app = mesh.app().await;
    let (mut client, mut served) = mesh.pair(&app).await;
    client.shutdown().await.unwrap();
    assert_eq!(hear_all(&mut served).await.unwrap(), b"");
    pass(&mut served, &mut client).await;
    drop(served);
    assert_eq!(hear_all(&mut client).await.unwrap(), b"");
    drop(client);
    assert!(mesh.client.ended().await.fault.is_none());

    let (mut client, mut served) = mesh.pair(&app).await;
    served.shutdown().await.unwrap();
    assert_eq!(hear_all(&mut client).await.unwrap(), b"");
    pass(&mut client, &mut served).await;
    drop(client);
    assert_eq!(hear_all(&mut served).await.unwrap(), b"");
    assert!(mesh.server.ended().await.fault.is_none());
}

#[tokio::test]
async fn a_reset_travels_through_and_is_the_fault_of_whoever_did_it() {
    let mesh = Mesh::start();
    let app = mesh.app().await;
    let (client, mut served) = mesh.pair(&app).await;
    client.set_zero_linger().unwrap();
    drop(client);
    assert!(hear_all(&mut served).await.is_err(), "the app takes a reset for an orderly end");
    assert_eq!(mesh.client.ended().await.fault.unwrap().side, Side::Workload);
    assert_eq!(mesh.server.ended().await.fault.unwrap().side, Side::Peer);

    let (mut client, served) = mesh.pair(&app).await;
    served.set_zero_linger().unwrap();
    drop(served);
    assert!(hear_all(&mut client).await.is_err(), "the client takes a reset for an orderly end");
    assert_eq!(mesh.client.ended().await.fault.unwrap().side, Side::Peer);
    assert_eq!(mesh.server.ended().await.fault.unwrap().side, Side::Workload);
}

#[tokio::test]
async fn megabytes_arrive_as_they_were_sent_both_ways_at_once() {
    const LENGTH: usize = 24 << 20;
    let mesh = Mesh::start();
    let app = mesh.app().await;
    let (mut client, mut served) = mesh.pair(&app).await;
    let bytes = |seed: u8| {
        (0..LENGTH)
            .map(|at| (at as u32).wrapping_mul(2_654_435_761).to_be_bytes()[1] ^ seed)
            .collect::<Vec<u8>>()
    };
    let (there, back) = (bytes(1), bytes(2));
    let (mut client_in, mut client_out) = client.split();
    let (mut served_in, mut served_out) = served.split();
    let (mut heard_there, mut heard_back) = (Vec::new(), Vec::new());
    let done = async {
        tokio::try_join!(
            async {
                client_out.write_all(&there).await?;
                client_out.shutdown().await
            },
            async {
                served_out.write_all(&back).await?;
                served_out.shutdown().await
            },
            async { served_in.read_to_end(&mut heard_there).await.map(drop) },
            async { client_in.read_to_end(&mut heard_back).await.map(drop) },
        )
    };
    within(done).await.unwrap();
    assert!(heard_there == there && heard_back == back);
}

#[tokio::test]
async fn whoever_is_not_the_expected_one_is_not_spoken_to() {
    let mesh = Mesh::with(LIMITS, Admitted::default(), "imposter");
    let app = mesh.app().await;
    let mut client = mesh.connect(app.local_addr().unwrap()).await;
    assert!(hear_all(&mut client).await.is_err());
    let fault = mesh.client.ended().await.fault.unwrap();
    assert_eq!((fault.side, fault.doing), (Side::Peer, "shake hands with tunnel"));
    assert_eq!(mesh.client.instance.tunnel_counts().failed_dials, 1);
}

#[tokio::test]
async fn whoever_is_not_let_in_is_answered_401_and_told_so() {
    let admitted = Admitted { tunnelled: Some(Reason::Rule), ..Admitted::default() };
    let mesh = Mesh::with(LIMITS, admitted, "db");
    let app = mesh.app().await;
    let mut client = mesh.connect(app.local_addr().unwrap()).await;
    assert!(hear_all(&mut client).await.is_err());
    let fault = mesh.client.ended().await.fault.unwrap();
    assert!(fault.to_string().contains("401"), "{fault}");
    let refused = mesh.server.ended().await;
    assert_eq!((refused.verdict, refused.reason), (Verdict::Deny, Reason::Rule));
}

#[tokio::test]
async fn an_app_that_is_not_there_and_a_port_of_the_meshs_own_are_answered_503() {
    let mesh = Mesh::start();
    let gone = mesh.app().await.local_addr().unwrap();
    for (port, side) in
        [(gone.port(), Side::Workload), (15001, Side::Peer), (15006, Side::Peer), (TUNNEL_PORT, Side::Peer)]
    {
        let mut client = mesh.connect(SocketAddr::new(mesh.address, port)).await;
        assert!(hear_all(&mut client).await.is_err());
        let fault = mesh.client.ended().await.fault.unwrap();
        assert!(fault.to_string().contains("503"), "{fault}");
        assert_eq!(mesh.server.ended().await.fault.unwrap().side, side, "{port}");
    }
}

#[tokio::test]
async fn a_dead_tunnel_is_replaced_once_without_the_client_noticing() {
    let mesh = Mesh::start();
    let app = mesh.app().await;
    drop(mesh.pair(&app).await);
    mesh.server.instance.cut_off();
    within(mesh.server.instance.idle()).await;
    let (_client, _served) = mesh.pair(&app).await;
    let counts = mesh.client.instance.tunnel_counts();
    assert_eq!((counts.dialled, counts.failed_dials), (2, 0));
}

#[tokio::test]
async fn a_tunnel_that_carries_nothing_is_closed_after_a_while() {
    let mesh = Mesh::with(
        Limits { tunnel_idle_timeout: Duration::from_millis(100), ..LIMITS },
        Admitted::default(),
        "db",
    );
    let app = mesh.app().await;
    drop(mesh.pair(&app).await);
    within(mesh.client.instance.idle()).await;
    within(mesh.server.instance.idle()).await;
    drop(mesh.pair(&app).await);
    assert_eq!(mesh.client.instance.tunnel_counts().dialled, 2);
}

#[tokio::test]
async fn a_drain_lets_connections_end_and_takes_no_more_in_the_same_tunnel() {
    let mesh = Mesh::start();
    let app = mesh.app().await;
    let (mut client, mut served) = mesh.pair(&app).await;
    mesh.server.instance.drain();
    pass(&mut client, &mut served).await;
    // The client heard of it, and dials another tunnel.
    let (other, _other_served) = mesh.pair(&app).await;
    eventually(|| mesh.client.instance.tunnel_counts().dialled >= 2).await;
    pass(&mut served, &mut client).await;
    drop((client, other));
    assert_eq!(hear_all(&mut served).await.unwrap(), b"");
}

#[tokio::test]
async fn a_revoked_peer_is_cut_off_and_others_are_not() {
    let mesh = Mesh::start();
    let app = mesh.app().await;
    let (mut client, mut served) = mesh.pair(&app).await;
    mesh.server.credentials.revoked.lock().unwrap().push(identity("somebody"));
    mesh.server.credentials.changes.send_modify(|count| *count += 1);
    pass(&mut client, &mut served).await;
    mesh.server.credentials.revoked.lock().unwrap().push(identity("web"));
    mesh.server.credentials.changes.send_modify(|count| *count += 1);
    assert!(hear_all(&mut client).await.is_err());
    assert!(hear_all(&mut served).await.is_err());
}

#[tokio::test]
async fn a_server_that_was_revoked_is_spoken_to_no_more() {
    let mesh = Mesh::start();
    let app = mesh.app().await;
    let (mut client, mut served) = mesh.pair(&app).await;
    mesh.client.credentials.revoked.lock().unwrap().push(identity("db"));
    mesh.client.credentials.changes.send_modify(|count| *count += 1);
    assert!(hear_all(&mut client).await.is_err());
    assert!(hear_all(&mut served).await.is_err());
}

#[tokio::test]
async fn strangers_that_say_nothing_keep_nobody_out_for_long() {
    let limits = Limits { connect_timeout: Duration::from_secs(2), ..LIMITS };
    let mesh = Mesh::with(limits, Admitted::default(), "db");
    let mut silent = Vec::new();
    for _ in 0..crate::proxy::tunnel::HANDSHAKES + 8 {
        silent.push(TcpStream::connect((mesh.address, TUNNEL_PORT)).await.unwrap());
    }
    eventually(|| mesh.server.instance.tunnel_counts().refused > 0).await;
    let app = mesh.app().await;
    mesh.pair(&app).await;
}

#[tokio::test]
async fn a_service_is_reached_at_an_endpoint_through_its_tunnel() {
    let mesh = Mesh::start();
    let app = mesh.app().await;
    let mut builder = DirectoryBuilder::default();
    builder
        .workload(Workload {
            name: "db-0".to_owned(),
            identity: identity("db"),
            addresses: vec![mesh.address],
            reach: Reach::Tunnel,
            node: None,
        })
        .unwrap();
    let virtual_address: SocketAddr = "10.96.0.1:5432".parse().unwrap();
    builder
        .service(Service {
            hostname: "db.shop".to_owned(),
            addresses: vec![virtual_address.ip()],
            ports: vec![ServicePort {
                port: 5432,
                target_port: app.local_addr().unwrap().port(),
                protocol: None,
            }],
            endpoints: vec![mesh.address],
        })
        .unwrap();
    let directory = Arc::new(builder.build());
    mesh.client.instance.set_neighbours(Neighbours::new(directory, Unknown::Refuse));
    let mut client = mesh.connect(virtual_address).await;
    let (mut served, _) = within(app.accept()).await.unwrap();
    pass(&mut client, &mut served).await;
    // What is not in the directory is refused.
    let mut unknown = mesh.connect("10.1.1.1:80".parse().unwrap()).await;
    assert!(hear_all(&mut unknown).await.is_err());
    assert_eq!(mesh.client.ended().await.reason, Reason::UnknownDestination);
}

#[tokio::test]
async fn plain_text_at_the_tunnels_port_is_no_handshake() {
    let mesh = Mesh::start();
    let mut stream = TcpStream::connect((mesh.address, TUNNEL_PORT)).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let _alert = hear_all(&mut stream).await;
    let ended = mesh.server.ended().await;
    assert_eq!((ended.verdict, ended.reason, ended.tier), (Verdict::Deny, Reason::Tunnel, Tier::Tunnel));
    assert_eq!(mesh.server.instance.tunnel_counts().refused, 1);
}

#[tokio::test]
async fn plain_text_where_it_is_not_taken_is_refused() {
    let handoffs = Fixed { destination: Mutex::new(Some(echo().await)), ..Fixed::default() };
    let (handoffs, seen) = (Arc::new(handoffs), Arc::new(Seen::default()));
    let admitted = Admitted { plain_text: Some(Reason::PlainText), ..Admitted::default() };
    let surroundings = Surroundings {
        handoffs,
        observer: seen.clone(),
        admission: Arc::new(admitted),
        tunnelling: None,
        workers: Workers::here(),
        network: NetworkNamespace::own(),
        addresses: OwnAddresses::default(),
        finder: None,
        room: None,
    };
    let instance = Instance::new(LIMITS, surroundings);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listening = instance.serve(listener, Entry::Inbound).unwrap();
    let mut client = TcpStream::connect(listening.address()).await.unwrap();
    assert!(hear_all(&mut client).await.is_err());
    eventually(|| !seen.ended.lock().unwrap().is_empty()).await;
    let ended = seen.ended.lock().unwrap().pop().unwrap();
    assert_eq!((ended.verdict, ended.reason), (Verdict::Deny, Reason::PlainText));
}
