//! What one instance holds, and what that costs it.

use sidestep_tests::patience::eventually_true;
use sidestep_tests::{Config, Need, Pod, Sidestep, needs_capture};

use crate::ask::{held, listening};

/// Descriptors of each process: the least that the promise is made for.
const DESCRIPTORS: u64 = 20_000;
const CONNECTIONS: u64 = 8_000;

#[test]
fn an_idle_sidecar_takes_ten_megabytes() {
    needs_capture!(Need::Optimized);
    let (pod, _other) = Pod::pair();
    let sidestep = Sidestep::sidecar(&pod, &Config::of(&pod));
    let resident = sidestep.process.resident_kib();
    assert!(resident <= 10 * 1_000, "{resident} KiB");
}

#[test]
fn eight_thousand_connections_are_held_for_twelve_kibibytes_each() {
    // Sixteen thousand pairs of sockets, and one after the other: too much for a small guest that is emulated.
    needs_capture!(Need::Optimized, Need::Speed, Need::Memory(2_048), Need::Descriptors(DESCRIPTORS));
    const EACH_KIB: u64 = 12;
    let (client, server) = Pod::pair();
    let keep = server.app().with_descriptors(DESCRIPTORS);
    let _keep = listening(keep.peer(&format!("keep --listen {}", server.v4(8080))));
    let place = client.sidecar().with_descriptors(DESCRIPTORS);
    let config = Config::of(&client).without_inbound();
    let sidestep = Sidestep::start(&client, place, &["sidecar"], &config).ready();
    let (before, idle) = (sidestep.process.own_kib(), sidestep.process.descriptors());
    let hold = client.app().with_descriptors(DESCRIPTORS);
    let hold = hold.peer(&format!("hold {} --count {CONNECTIONS}", server.v4(8080)));
    assert_eq!(held(&hold), (CONNECTIONS, None));
    sidestep.counted("outbound", "proxy", "default", CONNECTIONS);
    let grown = sidestep.process.own_kib() - before;
    assert!(grown <= CONNECTIONS * EACH_KIB, "{grown} KiB for {CONNECTIONS} connections");
    println!("{before} KiB without, {grown} KiB more with {CONNECTIONS} connections");
    hold.succeed();
    eventually_true("every descriptor is closed", || sidestep.process.descriptors() <= idle + 4);
}
