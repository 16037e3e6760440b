//! The demonstration of a node as a person runs it: real pods of a real runtime, and every claim about them held.

use std::process::Command;

use sidestep_tests::{Need, needs_capture};

use super::{shipped, xtask};

#[test]
fn the_demonstration_of_a_node_holds_what_it_claims() {
    needs_capture!(
        Need::Tool("cargo"),
        Need::Tool("ip"),
        Need::Tool("nsenter"),
        Need::Tool("podman"),
        Need::Tool("runc"),
        Need::Tool("nginx"),
        Need::Tool("busybox"),
        Need::Tool("tcpdump"),
        Need::File("/usr/lib/cni/bridge")
    );
    let mut demo = Command::new(xtask());
    demo.args(["demo", "--node"]).current_dir(shipped("."));
    let output = demo.output().unwrap_or_else(|error| panic!("run it: {error}"));
    let [told, said] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(output.status.success(), "{told}\n{said}");
    assert!(told.contains("no request failed on the way") && told.contains(" claims held"), "{told}");
}
