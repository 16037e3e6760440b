//! What instances share in one process: none takes what the others need.

use super::super::Room;
use super::tunnel::Mesh;
use super::*;
use crate::model::Side;

/// Descriptors that have room for so many connections of two instances.
const fn room_for(connections: usize) -> usize {
    256 + 2 * 80 + 2 * connections
}

/// Two instances in one room, each before an upstream that echoes.
async fn two(room: &Arc<Room>) -> [(Arc<Instance>, Listening, Arc<Seen>); 2] {
    let echo = echo().await;
    [(); 2].map(|()| {
        let seen = Arc::<Seen>::default();
        let surroundings = Surroundings {
            handoffs: Arc::new(Fixed { destination: Mutex::new(Some(echo)), ..Fixed::default() }),
            observer: seen.clone(),
            admission: Arc::new(Admitted::default()),
            tunnelling: None,
            workers: Workers::here(),
            network: NetworkNamespace::own(),
            addresses: OwnAddresses::default(),
            finder: None,
            room: Some(Arc::clone(room)),
        };
        let instance = Instance::new(LIMITS, surroundings);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listening = instance.serve(listener, Entry::Outbound).unwrap();
        (instance, listening, seen)
    })
}

/// A connection through an instance, if it is served.
async fn served(listening: &Listening) -> Option<TcpStream> {
    // A reset may be quicker than whoever connects.
    let mut client = within(TcpStream::connect(listening.address())).await.ok()?;
    let _sent = client.write_all(b"x").await;
    within(client.read_u8()).await.is_ok().then_some(client)
}

#[tokio::test]
async fn an_instance_that_holds_its_share_of_descriptors_leaves_the_rest_to_the_others() {
    let room = Room::new(room_for(80), || None);
    let [(busy, its, told), (_quiet, others, _)] = two(&room).await;
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(served(&its).await.expect("there is room"));
    }
    assert!(served(&its).await.is_none(), "half of it is taken");
    assert_eq!(busy.over_limit(), 1);
    eventually(|| !told.ended.lock().unwrap().is_empty()).await;
    let fault = told.ended.lock().unwrap().pop().and_then(|ended| ended.fault).unwrap();
    assert_eq!((fault.side, fault.doing), (Side::Agent, "admit connection"));
    let message = fault.source.to_string();
    assert!(message.starts_with("40 connections are open already, the workload's share"), "{message}");
    let other = served(&others).await.expect("whoever is quiet finds room");
    drop((held, other));
    within(busy.idle()).await;
    eventually(|| busy.active() == 0).await;
    assert!(served(&its).await.is_some(), "what is over makes room");
}

#[tokio::test]
async fn a_tunnel_too_many_is_reset_counted_and_told() {
    let mesh = Mesh::start();
    let app = mesh.app().await;
    mesh.server.instance.set_limits(Limits { max_connections: 0, ..LIMITS });
    let mut client = mesh.connect(app.local_addr().unwrap()).await;
    assert!(within(client.read(&mut [0])).await.is_err());
    let ended = mesh.server.ended().await;
    let fault = ended.fault.unwrap();
    assert_eq!((ended.reason, fault.side, fault.doing), (Reason::Tunnel, Side::Agent, "admit tunnel"));
    assert!(mesh.server.instance.over_limit() > 0);
}
