//! Short ways to say what most tests do: start a peer, and ask what it saw.

use std::net::SocketAddr;

use sidestep_tests::peer::Dialled;
use sidestep_tests::place::peer_binary;
use sidestep_tests::{Event, Pod, Process, eventually};

/// Hands on a server once its listener stands.
pub(crate) fn listening(server: Process) -> Process {
    server.event("that it listens", |event| matches!(event, Event::Listening { .. }).then_some(()));
    server
}

/// An echo server in the pod's app cgroup, listening.
pub(crate) fn echo(pod: &Pod, name: &str, address: SocketAddr, more: &str) -> Process {
    listening(pod.app().peer(&format!("echo --name {name} --listen {address} {more}")))
}

/// Two pods as [`Pod::pair`] makes them, whose kernels hold a few megabytes per socket at most: grown as far as some
/// machines let them grow, the buffers of a chain of sockets take all that a writer has before it ever waits.
pub(crate) fn pair_with_bounded_buffers() -> (Pod, Pod) {
    let (left, right) = Pod::pair();
    for pod in [&left, &right] {
        pod.namespace.sysctl("net.ipv4.tcp_rmem", "4096 131072 4194304");
        pod.namespace.sysctl("net.ipv4.tcp_wmem", "4096 16384 4194304");
    }
    (left, right)
}

/// Runs the `connect` peer in the pod's app cgroup to its end.
pub(crate) fn connect(pod: &Pod, line: &str) -> Dialled {
    let client = pod.app().peer(&format!("connect {line}"));
    let dialled = dialled(&client);
    client.succeed();
    dialled
}

/// The same for what may hold blanks: connects, sends, and reads until the server has closed.
pub(crate) fn connect_and_send(pod: &Pod, address: SocketAddr, text: &str) -> Dialled {
    let address = address.to_string();
    let client = pod.app().start(peer_binary(), ["connect", &address, "--send", text]);
    let dialled = dialled(&client);
    client.succeed();
    dialled
}

/// Dials again and again until the outcome is what `wanted` says.
pub(crate) fn eventually_dials(what: &str, pod: &Pod, line: &str, wanted: impl Fn(&Dialled) -> bool) {
    eventually(what, || {
        let dialled = connect(pod, line);
        if wanted(&dialled) { Ok(()) } else { Err(Box::new(dialled)) }
    });
}

/// How the connection of a `connect` peer went.
pub(crate) fn dialled(client: &Process) -> Dialled {
    client.event("how the connection went", |event| match event {
        Event::Dialled(dialled) => Some(dialled),
        _ => None,
    })
}

/// The next connection that a server accepted: peer as returned, peer as asked, own address.
pub(crate) fn accepted(server: &Process) -> (SocketAddr, Option<SocketAddr>, SocketAddr) {
    server.event("an accepted connection", |event| match event {
        Event::Accepted { returned, peer, local } => Some((returned, peer, local)),
        _ => None,
    })
}

/// How many connections a `hold` peer has up, and what stopped it.
pub(crate) fn held(hold: &Process) -> (u64, Option<String>) {
    hold.event("that connections are held", |event| match event {
        Event::Holding { count, error } => Some((count, error)),
        _ => None,
    })
}

/// Sends a datagram from one pod's app to the other's and hands on the answer.
pub(crate) fn udp(client: &Pod, server: &Pod, mode: &str) -> String {
    let address = server.v4(5353);
    let _echo = listening(server.app().peer(&format!("udp-echo --name udp --listen {address}")));
    let sender = client.app().peer(&format!("udp-send {address} --send hello --mode {mode}"));
    let (reply, from, error) = sender.event("an answered datagram", |event| match event {
        Event::Datagram { reply, from, error, .. } => Some((reply, from, error)),
        _ => None,
    });
    assert_eq!((from, error), (Some(address), None));
    reply
}

/// Transfers `bytes` both ways in the first of `rounds` and random amounts in the others; every byte must arrive.
pub(crate) fn transferred(client: &Pod, server: &Pod, address: SocketAddr, bytes: u64, rounds: usize) {
    let far = listening(server.app().peer(&format!("transfer-listen --listen {address}")));
    let near = client.app().peer(&format!("transfer {address} --bytes {bytes} --rounds {rounds}"));
    for round in 0..rounds {
        for side in [&near, &far] {
            let transferred = side.event("a finished round", |event| match event {
                Event::Transferred(transferred) => Some(transferred),
                _ => None,
            });
            assert_eq!(transferred.fault, None, "round {round}: {transferred:?}");
        }
    }
    near.succeed();
}

/// Runs the `storm` peer; every one of its connections must be answered.
pub(crate) fn stormed(client: &Pod, line: &str, count: u64) {
    let storm = client.app().peer(&format!("storm {line}"));
    assert_eq!(unharmed(&storm), count);
}

/// Ends a `storm` peer that goes on until told; every one of its connections must have been answered, and there was one.
pub(crate) fn weathered(storm: &Process) {
    storm.hang_up();
    assert!(unharmed(storm) > 0, "the storm never began");
}

/// How many connections a `storm` peer made, none of which may have failed.
fn unharmed(storm: &Process) -> u64 {
    let (answered, failures) = storm_result(storm);
    assert!(failures.is_empty(), "{answered} answered, failed: {failures:?}");
    answered
}

/// What a `storm` peer counted.
pub(crate) fn storm_result(storm: &Process) -> (u64, std::collections::BTreeMap<String, u64>) {
    storm.event("the end of the storm", |event| match event {
        Event::Stormed { answered, failures, .. } => Some((answered, failures)),
        _ => None,
    })
}

/// Waits until a `stall` peer has read all of `bytes` unharmed.
pub(crate) fn drained(stall: &Process, bytes: u64) {
    let drained = stall.event("that everything was read", |event| match event {
        Event::Drained { bytes, fault } => Some((bytes, fault)),
        _ => None,
    });
    assert_eq!(drained, (bytes, None));
}
