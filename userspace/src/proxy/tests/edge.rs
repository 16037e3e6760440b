//! The edge: TLS towards others and from them, with servers and apps that do what they should and what they should not.

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::model::{Side, UpstreamAddr, Verdict};
use crate::proxy::{Edge, Negotiation, Origination, Termination};
use crate::sys::namespace::NetworkNamespace;

/// A server's TLS and that of those who believe it; its name is `localhost`.
fn tls() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let server = server.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    (Arc::new(server), Arc::new(client.with_root_certificates(roots).with_no_client_auth()))
}

/// An instance with one listener at its edge.
struct AtEdge {
    instance: Arc<Instance>,
    listening: Listening,
    seen: Arc<Seen>,
}

impl AtEdge {
    fn start(edge: Edge, limits: Limits, denied: Vec<SocketAddr>) -> Self {
        let seen = Arc::new(Seen::default());
        let surroundings = Surroundings {
            handoffs: Arc::new(Fixed::default()),
            observer: seen.clone(),
            admission: Arc::new(Admitted { denied, ..Admitted::default() }),
            tunnelling: None,
            workers: Workers::here(),
            network: NetworkNamespace::own(),
            addresses: OwnAddresses::default(),
            finder: None,
            room: None,
        };
        let instance = Instance::new(limits, surroundings);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listening = instance.serve(listener, Entry::Edge(edge)).unwrap();
        Self { instance, listening, seen }
    }

    async fn connect(&self) -> TcpStream {
        within(TcpStream::connect(self.listening.address())).await.unwrap()
    }

    async fn ended(&self) -> Ended {
        eventually(|| !self.seen.ended.lock().unwrap().is_empty()).await;
        assert_eq!(self.seen.opened.lock().unwrap().len(), 1);
        self.seen.ended.lock().unwrap().pop().unwrap()
    }
}

/// An instance that adds TLS towards a server of the test's own.
struct Scene {
    edge: AtEdge,
    listener: TcpListener,
    server: TlsAcceptor,
}

impl Scene {
    async fn with(negotiation: Negotiation, limits: Limits, deny: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (server, client) = tls();
        let origination = Origination {
            remote: format!("localhost:{}", address.port()).parse().unwrap(),
            server_name: ServerName::try_from("localhost").unwrap(),
            negotiation,
            tls: Box::new(move || client.clone()),
        };
        let denied = if deny {
            vec![address, SocketAddr::new("::1".parse().unwrap(), address.port())]
        } else {
            vec![]
        };
        let edge = AtEdge::start(Edge::Originate(Arc::new(origination)), limits, denied);
        Self { edge, listener, server: TlsAcceptor::from(server) }
    }

    async fn start(negotiation: Negotiation) -> Self {
        Self::with(negotiation, LIMITS, false).await
    }

    async fn accept(&self) -> TcpStream {
        within(self.listener.accept()).await.unwrap().0
    }

    async fn secure(&self, stream: TcpStream) -> TlsStream<TcpStream> {
        within(self.server.accept(stream)).await.unwrap()
    }
}

async fn expect(stream: &mut (impl AsyncReadExt + Unpin), bytes: &[u8]) {
    let mut heard = vec![0; bytes.len()];
    within(stream.read_exact(&mut heard)).await.unwrap();
    assert_eq!(heard, bytes);
}

async fn say(stream: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8]) {
    within(stream.write_all(bytes)).await.unwrap();
    within(stream.flush()).await.unwrap();
}

async fn rest(stream: &mut (impl AsyncReadExt + Unpin)) -> io::Result<Vec<u8>> {
    let mut rest = Vec::new();
    within(stream.read_to_end(&mut rest)).await.map(|_length| rest)
}

#[tokio::test]
async fn bytes_and_both_ends_pass_through_tls_to_a_host_by_its_name() {
    let scene = Scene::start(Negotiation::AtOnce).await;
    let mut app = scene.edge.connect().await;
    let mut server = scene.secure(scene.accept().await).await;
    say(&mut app, b"from the app").await;
    expect(&mut server, b"from the app").await;
    app.shutdown().await.unwrap();
    assert_eq!(rest(&mut server).await.unwrap(), b"", "the app has said all it has to say");
    let bulk: Vec<u8> = (0..3_000_000_u32).map(|number| number as u8).collect();
    let (sent, heard) = tokio::join!(
        async {
            say(&mut server, &bulk).await;
            server.shutdown().await.unwrap();
        },
        rest(&mut app)
    );
    let () = sent;
    assert!(heard.unwrap() == bulk, "other bytes than were sent");
    let ended = scene.edge.ended().await;
    assert!(ended.fault.is_none(), "{:?}", ended.fault);
    assert_eq!((ended.traffic.sent, ended.traffic.received), (12, 3_000_000));
    assert_eq!(ended.upstream, Some(UpstreamAddr(scene.listener.local_addr().unwrap())));
}

#[tokio::test]
async fn tls_that_is_cut_short_is_a_reset_unless_the_protocol_says_itself_where_it_ends() {
    let scene = Scene::start(Negotiation::AtOnce).await;
    let mut app = scene.edge.connect().await;
    let mut server = scene.secure(scene.accept().await).await;
    say(&mut server, b"half").await;
    expect(&mut app, b"half").await;
    drop(server.into_inner().0);
    assert_eq!(rest(&mut app).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(scene.edge.ended().await.fault.map(|fault| fault.side), Some(Side::Peer));

    let scene = Scene::start(Negotiation::Postgres).await;
    let mut app = scene.edge.connect().await;
    say(&mut app, b"\0\0\0\x08\0\x03\0\0").await;
    let mut server = scene.accept().await;
    expect(&mut server, b"\0\0\0\x08\x04\xd2\x16\x2f").await;
    say(&mut server, b"S").await;
    let mut server = scene.secure(server).await;
    expect(&mut server, b"\0\0\0\x08\0\x03\0\0").await;
    say(&mut server, b"whole").await;
    drop(server.into_inner().0);
    assert_eq!(rest(&mut app).await.unwrap(), b"whole");
}

#[tokio::test]
async fn an_app_that_resets_is_a_reset_to_the_server_too() {
    let scene = Scene::start(Negotiation::AtOnce).await;
    let app = scene.edge.connect().await;
    let mut server = scene.secure(scene.accept().await).await;
    app.set_zero_linger().unwrap();
    drop(app);
    assert!(rest(&mut server).await.is_err());
    assert_eq!(scene.edge.ended().await.fault.map(|fault| fault.side), Some(Side::Workload));
}

#[tokio::test]
async fn bytes_behind_the_answer_in_plain_text_do_not_pass_for_tls() {
    let scene = Scene::start(Negotiation::Postgres).await;
    let mut app = scene.edge.connect().await;
    // The app asks for encryption of both kinds before it goes on without.
    say(&mut app, b"\0\0\0\x08\x04\xd2\x16\x30").await;
    let mut server = scene.accept().await;
    expect(&mut server, b"\0\0\0\x08\x04\xd2\x16\x2f").await;
    say(&mut server, b"SE\0\0\0\x08stuffed").await;
    expect(&mut app, b"N").await;
    say(&mut app, b"\0\0\0\x08\x04\xd2\x16\x2f").await;
    expect(&mut app, b"N").await;
    say(&mut app, b"\0\0\0\x08\0\x03\0\0").await;
    let told = String::from_utf8_lossy(&rest(&mut app).await.unwrap()).into_owned();
    assert!(told.starts_with('E') && told.contains("sidestep: no TLS connection to localhost:"), "{told:?}");
    assert!(!told.contains("stuffed"));
}

#[tokio::test]
async fn a_server_that_declines_hears_nothing_more() {
    let scene = Scene::start(Negotiation::Postgres).await;
    let mut app = scene.edge.connect().await;
    say(&mut app, b"\0\0\0\x10\0\x03\0\0user\0me\0").await;
    let mut server = scene.accept().await;
    expect(&mut server, b"\0\0\0\x08\x04\xd2\x16\x2f").await;
    say(&mut server, b"N").await;
    assert_eq!(rest(&mut server).await.unwrap(), b"");
    let told = String::from_utf8_lossy(&rest(&mut app).await.unwrap()).into_owned();
    assert!(told.contains("declines it"), "{told:?}");
}

/// A packet of MySQL.
fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![payload.len() as u8, 0, 0, sequence];
    bytes.extend(payload);
    bytes
}

fn greeting(lower: u16) -> Vec<u8> {
    let mut payload = b"\x0a10.11\0\x05\0\0\0abcdefgh\0".to_vec();
    payload.extend(lower.to_le_bytes());
    payload.extend(b"\x2d\x02\x00\xff\x81\x15");
    payload
}

#[tokio::test]
async fn a_login_is_numbered_anew_both_ways_until_it_is_over() {
    let scene = Scene::start(Negotiation::Mysql).await;
    let mut app = scene.edge.connect().await;
    let mut server = scene.accept().await;
    say(&mut server, &packet(0, &greeting(0x0a01))).await;
    expect(&mut app, &packet(0, &greeting(0x0201))).await;
    let mut response = vec![0x01, 0x02, 0, 0];
    response.resize(32, 7);
    response.extend(b"me\0");
    say(&mut app, &packet(1, &response)).await;
    response[1] |= 0x08;
    expect(&mut server, &packet(1, &response[..32])).await;
    let mut server = scene.secure(server).await;
    expect(&mut server, &packet(2, &response)).await;
    say(&mut server, &packet(3, b"\xfemysql_native_password\0")).await;
    expect(&mut app, &packet(2, b"\xfemysql_native_password\0")).await;
    say(&mut app, &packet(3, b"scrambled")).await;
    expect(&mut server, &packet(4, b"scrambled")).await;
    say(&mut server, &packet(5, b"\0\0\0\x02\0\0\0")).await;
    expect(&mut app, &packet(4, b"\0\0\0\x02\0\0\0")).await;
    // From here on nothing is looked at.
    say(&mut app, &packet(0, b"\x03select 1")).await;
    expect(&mut server, &packet(0, b"\x03select 1")).await;
    say(&mut server, b"\xff\xff\xff\xff").await;
    expect(&mut app, b"\xff\xff\xff\xff").await;
    drop((app, server));
    assert!(scene.edge.ended().await.traffic.sent > 40);
}

#[tokio::test]
async fn what_is_no_login_is_refused_with_a_reason() {
    for (greets, said, told) in [
        (greeting(0x0201), None, "found one that offers none"),
        (b"\xff\x69\x04Host is blocked".to_vec(), None, "Host is blocked"),
        (b"SSH-2.0".to_vec(), None, "found something else"),
        (greeting(0x0a01), Some(vec![0x00, 0x0a, 0, 0]), "shorter packet"),
        (greeting(0x0a01), Some([&[0x00, 0x0a, 0, 0][..], &[0; 28]].concat()), "switch TLS off in the app"),
    ] {
        let scene = Scene::start(Negotiation::Mysql).await;
        let mut app = scene.edge.connect().await;
        let mut server = scene.accept().await;
        say(&mut server, &packet(0, &greets)).await;
        if let Some(said) = said {
            let mut head = vec![0; 4 + greets.len()];
            within(app.read_exact(&mut head)).await.unwrap();
            say(&mut app, &packet(1, &said)).await;
        }
        let answer = String::from_utf8_lossy(&rest(&mut app).await.unwrap()).into_owned();
        assert!(
            answer.contains("sidestep: no TLS connection") && answer.contains(told),
            "{answer:?} without {told:?}"
        );
        assert_eq!(rest(&mut server).await.unwrap_or_default(), b"", "nothing goes out in plain text");
    }
}

#[tokio::test]
async fn where_the_workload_may_not_go_the_instance_does_not_go_for_it() {
    let scene = Scene::with(Negotiation::AtOnce, LIMITS, true).await;
    let mut app = scene.edge.connect().await;
    assert!(rest(&mut app).await.is_err());
    let ended = scene.edge.ended().await;
    assert_eq!((ended.verdict, ended.reason, ended.upstream), (Verdict::Deny, Reason::Rule, None));
    assert!(futures_util::FutureExt::now_or_never(scene.listener.accept()).is_none(), "it was dialled");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_not_waited_for_longer_than_a_dial_may_take() {
    let limits = Limits { connect_timeout: Duration::from_millis(100), ..LIMITS };
    for negotiation in [Negotiation::AtOnce, Negotiation::Postgres, Negotiation::Mysql] {
        let scene = Scene::with(negotiation, limits, false).await;
        let mut app = scene.edge.connect().await;
        let _server = scene.accept().await;
        let _answer = rest(&mut app).await;
        let fault = scene.edge.ended().await.fault.expect("a fault");
        assert_eq!(fault.source.kind(), io::ErrorKind::TimedOut, "{negotiation:?}: {fault}");
        assert_eq!(scene.edge.instance.active(), 0);
    }
}

/// An instance that takes TLS off in front of an app of the test's own.
async fn terminate(limits: Limits) -> (AtEdge, TcpListener, TlsConnector) {
    let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (server, client) = tls();
    let to = UpstreamAddr(app.local_addr().unwrap());
    let termination = Termination::new(to, None, Box::new(move || server.clone()));
    let edge = AtEdge::start(Edge::Terminate(Arc::new(termination)), limits, Vec::new());
    (edge, app, TlsConnector::from(client))
}

#[tokio::test]
async fn bytes_and_both_ends_pass_from_tls_to_the_app() {
    let (edge, app, connector) = terminate(LIMITS).await;
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = within(connector.connect(name, edge.connect().await)).await.unwrap();
    let (mut app, _) = within(app.accept()).await.unwrap();
    say(&mut client, b"question").await;
    within(client.shutdown()).await.unwrap();
    assert_eq!(rest(&mut app).await.unwrap(), b"question");
    say(&mut app, b"answer").await;
    drop(app);
    assert_eq!(rest(&mut client).await.unwrap(), b"answer");
    let ended = edge.ended().await;
    assert_eq!((ended.traffic.sent, ended.traffic.received), (8, 6));
    assert!(ended.fault.is_none() && ended.direction == Direction::Inbound, "{ended:?}");
}

#[tokio::test]
async fn a_client_that_is_cut_short_is_a_reset_to_the_app() {
    let (edge, app, connector) = terminate(LIMITS).await;
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = within(connector.connect(name, edge.connect().await)).await.unwrap();
    let (mut app, _) = within(app.accept()).await.unwrap();
    say(&mut client, b"half").await;
    expect(&mut app, b"half").await;
    drop(client.into_inner().0);
    assert_eq!(rest(&mut app).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(edge.ended().await.fault.map(|fault| fault.side), Some(Side::Peer));
}

#[tokio::test]
async fn whoever_does_not_finish_a_handshake_reaches_nobody() {
    let limits = Limits { connect_timeout: Duration::from_millis(100), ..LIMITS };
    for said in [&b""[..], b"\x16\x03\x01\x02\0\x01", b"GET / HTTP/1.1\r\n\r\n"] {
        let (edge, app, _) = terminate(limits).await;
        let mut client = edge.connect().await;
        say(&mut client, said).await;
        let _answer = rest(&mut client).await;
        assert_eq!(edge.ended().await.fault.map(|fault| fault.side), Some(Side::Peer), "{said:?}");
        assert!(futures_util::FutureExt::now_or_never(app.accept()).is_none(), "the app was dialled");
    }
}
