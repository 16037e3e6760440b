//! The plugin as a real runtime calls it: podman with its CNI backend, the plugins of containernetworking, ours behind them
//! where the agent has put it, and pods that are captured before their first packet.
//!
//! Podman knows pods and no namespaces of them, so the plugin's entry says which is meant (`pod-namespace`).

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sidestep_tests::leftovers::pin_directories;
use sidestep_tests::mesh::NAMESPACE;
use sidestep_tests::node::Agent;
use sidestep_tests::{Need, Node, Pod, Runtime, eventually, needs_capture, rootfs};

use super::server::answer;
use super::web::{PAGE, nginx};

/// What the app of the pod answers with.
const APP: &str = "the app of the pod was here";

/// A node with an API server, a runtime, and a server that the pods talk to. Fields are dropped in order.
struct Scene {
    runtime: Runtime,
    server: Pod,
    node: Node,
}

impl Scene {
    fn new() -> Self {
        let node = Node::new();
        let runtime = Runtime::new(&node.networks(), &node.bin(), |root| rootfs::busybox(root, APP));
        let mut server = Pod::alone();
        runtime.join(&mut server);
        Self { runtime, server, node }
    }

    /// An agent that has put its plugin into the network.
    fn agent(&self) -> Agent<'_> {
        let agent = self.node.agent();
        eventually("the plugin is in the network", || match entry(&self.runtime.network()) {
            Some(_) => Ok(()),
            None => Err(agent.process.stderr()),
        });
        agent
    }

    /// Tells the plugin what podman does not, and leaves it to `on_failure` what becomes of pods without an agent.
    fn complete(&self, on_failure: &str) {
        self.runtime.tell_plugin(&json!({ "pod-namespace": NAMESPACE, "on-failure": on_failure }));
    }

    /// Tells the API server of a pod that is about to start.
    fn schedule(&self, name: &str) -> Pod {
        let pod = Pod::alone();
        let mut object = self.node.object(&pod, name, json!({}));
        object["status"] = json!({ "phase": "Pending" });
        self.node.api.put(object);
        pod
    }
}

/// Our entry in a network.
fn entry(network: &Path) -> Option<Value> {
    let network: Value = serde_json::from_str(&fs::read_to_string(network).ok()?).ok()?;
    let mut plugins = network["plugins"].as_array()?.iter();
    plugins.find(|plugin| plugin["type"] == "sidestep-cni").cloned()
}

macro_rules! needs_podman {
    () => {
        needs_capture!(
            Need::Tool("podman"),
            Need::Tool("runc"),
            Need::Tool("nginx"),
            Need::Tool("curl"),
            Need::Tool("busybox"),
            Need::File("/usr/lib/cni/bridge")
        )
    };
}

#[test]
fn a_pod_of_a_real_runtime_is_captured_before_its_first_packet() {
    needs_podman!();
    let scene = Scene::new();
    let nginx = nginx(&scene.server);
    let agent = scene.agent();
    scene.complete("closed");
    let pod = scene.schedule("web");
    let there = scene.server.v4(8080);

    // Its first deed is a connection.
    let address = scene.runtime.start(
        "web",
        &pod,
        &format!("wget -q -O - http://{there}/ && exec httpd -f -p 80 -h /www"),
    );
    agent.serves("web");
    eventually("the app has its page", || {
        let printed = scene.runtime.run("podman logs web-app");
        if printed.contains(PAGE) { Ok(()) } else { Err((printed, agent.process.stderr())) }
    });
    let outbound = agent.log.outbound(there);
    assert_eq!((outbound.workload.as_str(), outbound.verdict.as_str()), ("shop/web", "proxy"));
    assert_eq!(outbound.source.map(|source| source.ip()), Some(address));
    let requests = nginx.file("access.log");
    let own = requests.lines().filter(|line| line.starts_with(&format!("{address} ")));
    assert_eq!(own.count(), 1, "{requests}");

    let app = SocketAddr::new(address, 80);
    let page = answer(scene.server.app(), "curl", ["-sSf", &format!("http://{app}/")]);
    assert_eq!(page, APP);
    let inbound = agent.log.inbound(app);
    assert_eq!((inbound.workload.as_str(), inbound.verdict.as_str()), ("shop/web", "proxy"));
    assert_eq!(
        inbound.source.map(|source| source.ip()),
        Some(scene.server.v4(0).ip()),
        "the app saw who it was"
    );

    assert_eq!(pin_directories(&format!("{NAMESPACE}_web")).len(), 1);
    scene.runtime.end("web");
    eventually("nothing is left of the pod", || {
        let left = pin_directories(&format!("{NAMESPACE}_web"));
        if left.is_empty() { Ok(()) } else { Err((left, agent.process.stderr())) }
    });

    // The end of the DaemonSet is the end of the plugin.
    scene.node.want(false);
    assert!(agent.process.stop(Signal::SIGTERM).success());
    assert_eq!(entry(&scene.runtime.network()), None);
    assert_eq!(fs::read_dir(scene.node.bin()).map(Iterator::count).unwrap_or_default(), 0);
}

#[test]
fn without_an_agent_a_pod_waits_or_starts_uncaptured_as_it_was_said() {
    needs_podman!();
    let scene = Scene::new();
    let _nginx = nginx(&scene.server);
    let agent = scene.agent();
    scene.complete("closed");
    let there = scene.server.v4(8080);
    let fetch = format!("wget -q -O - http://{there}/ && exec sleep 1000");
    agent.process.kill();
    drop(agent);

    let web = scene.schedule("web");
    let said = scene.runtime.cannot_start("web", &web, &fetch);
    assert!(said.contains("the node's agent is not there"), "{said}");
    scene.runtime.end("web");

    scene.complete("open");
    let other = scene.schedule("other");
    let address = scene.runtime.start("other", &other, &fetch);
    eventually("the app has its page", || {
        let printed = scene.runtime.run("podman logs other-app");
        if printed.contains(PAGE) { Ok(()) } else { Err(printed) }
    });

    // An agent that starts finds it, and captures what it does from now on.
    let agent = scene.agent();
    let mut object = scene.node.object(&other, "other", json!({}));
    object["status"]["podIP"] = json!(address);
    object["status"]["podIPs"] = json!([{ "ip": address }]);
    scene.node.api.put(object);
    agent.serves("other");
    scene.runtime.run(&format!("podman exec other-app wget -q -O - http://{there}/"));
    let outbound = agent.log.outbound(there);
    assert_eq!((outbound.workload.as_str(), outbound.verdict.as_str()), ("shop/other", "proxy"));

    // And the one that could not start does.
    scene.complete("closed");
    let _address = scene.runtime.start("web", &web, &fetch);
    agent.serves("web");
    scene.runtime.end("web");
    scene.runtime.end("other");
}
