//! Capture for a proxy that is not ours and asks for SO_ORIGINAL_DST, as Envoy does.

use std::net::SocketAddr;

use nix::sys::signal::Signal;
use sidestep_tests::{Config, Event, Need, Pod, Process, Sidestep, leftovers, needs_capture};

use crate::ask::{connect, echo};

/// A foreign proxy beside the app, as a container of its own in the pod, with both its listeners up.
fn proxy(pod: &Pod, program: &str, port: u16) -> Process {
    let proxy = pod.sidecar().peer(&format!("{program} --port {port}"));
    for _family in 0..2 {
        proxy.event("that it listens", |event| matches!(event, Event::Listening { .. }).then_some(()));
    }
    proxy
}

fn original(proxy: &Process) -> (Option<SocketAddr>, Option<String>) {
    proxy.event("an original destination", |event| match event {
        Event::OriginalDestination { original, error, .. } => Some((original, error)),
        _ => None,
    })
}

#[test]
fn a_foreign_proxy_learns_the_original_destination() {
    needs_capture!(Need::Ipv6);
    let (client, server) = Pod::pair();
    let foreign = proxy(&client, "original-dst", 15001);
    let sidestep = Sidestep::capture(&client, 15001, None, &Config::of(&client).without_inbound());
    for destination in [server.v4(8080), server.v6(8080)] {
        let dialled = connect(&client, &format!("{destination} --send hello"));
        assert_eq!(dialled.read, format!("{destination}\n"), "{dialled:?}");
        assert_eq!(dialled.peer, Some(destination));
        assert_eq!(original(&foreign), (Some(destination), None));
    }
    assert!(sidestep.process.stop(Signal::SIGTERM).success());
    leftovers::none(&client);
}

#[test]
fn a_foreign_proxy_relays_what_is_captured_for_it() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = echo(&server, "right", server.v4(8080), "");
    let foreign = proxy(&client, "foreign-proxy", 15001);
    let _sidestep = Sidestep::capture(&client, 15001, None, &Config::of(&client).without_inbound());
    let dialled = connect(&client, &format!("{} --send hello", server.v4(8080)));
    assert_eq!(dialled.read, "right\nhello", "{dialled:?}");
    assert_eq!(original(&foreign), (Some(server.v4(8080)), None));
}

#[test]
fn a_foreign_proxy_gets_inbound_connections_at_its_inbound_port() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _app = echo(&server, "app", server.v4(8080), "");
    let _outbound = proxy(&server, "foreign-proxy", 15001);
    let inbound = proxy(&server, "foreign-proxy", 15006);
    let _sidestep = Sidestep::capture(&server, 15001, Some(15006), &Config::of(&server));
    let dialled = connect(&client, &format!("{} --send hello", server.v4(8080)));
    assert_eq!(dialled.read, "app\nhello", "{dialled:?}");
    assert_eq!(original(&inbound), (Some(server.v4(8080)), None));
}
