//! The node of the demonstration: its API server, its runtime, its agents and its pods.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sidestep_tests::mesh::NAMESPACE;
use sidestep_tests::node::Agent;
use sidestep_tests::{Node, Pod, Runtime, rootfs};

use crate::demo::story::observed;
use crate::process::capture;

/// What nginx answers with.
pub(super) const GREETING: &str = "hello from nginx in a pod of the node";
/// Where it listens.
pub(super) const PORT: u16 = 80;
/// What nginx is configured to be, with a log of the traces that it was told of.
const NGINX: &str = "user root; worker_processes 1; pid /run/nginx.pid; error_log stderr; daemon off;\n\
    events { worker_connections 64; }\n\
    http {\n  log_format told '$request_uri $remote_addr $http_traceparent';\n  access_log /dev/stdout told;\n  \
    server { listen 80; location / { return 200 'GREETING'; } }\n}\n";
/// Where the agents serve their readiness: the first and the one that takes over.
const ADMIN: [u16; 2] = [15021, 15022];

/// The node. Fields are dropped in order: pods need the plugin's agent to end, and the API server ends last.
pub(super) struct Scene {
    pub(super) runtime: Runtime,
    pub(super) node: Node,
}

/// A pod that runs.
pub(super) struct Running {
    pub(super) name: String,
    pub(super) address: IpAddr,
    pub(super) pod: Pod,
}

impl Running {
    /// Where its app listens, if it does.
    pub(super) fn app(&self) -> SocketAddr {
        SocketAddr::new(self.address, PORT)
    }

    /// What it is called in logs.
    pub(super) fn workload(&self) -> String {
        format!("{NAMESPACE}/{}", self.name)
    }
}

impl Scene {
    /// A node without pods and without an agent.
    pub(super) fn set() -> Self {
        let node = Node::new();
        let runtime = Runtime::new(&node.networks(), &node.bin(), fill);
        Self { runtime, node }
    }

    /// The agent that serves it first.
    pub(super) fn agent(&self) -> Agent<'_> {
        self.node.start(&self.config(), ADMIN[0]).ready()
    }

    /// One that takes over from it.
    pub(super) fn successor(&self) -> Agent<'_> {
        self.node.start(&self.config(), ADMIN[1]).ready()
    }

    /// Looks at HTTP, and traces every request. Nobody listens at the collector's: what it would be told is in the log too.
    fn config(&self) -> Value {
        self.node.config(json!({
            "http": {},
            "tracing": { "endpoint": "http://127.0.0.1:4317", "sampling": 1.0 },
        }))
    }

    /// Starts both pods as a kubelet does: the object is there first, then the runtime, then the addresses.
    pub(super) fn pods(&self, agent: &Agent<'_>) -> (Running, Running) {
        let web = self.start("web", "exec sleep 100000");
        let db = self.start("db", "exec nginx");
        for pod in [&web, &db] {
            agent.serves(&pod.name);
        }
        (web, db)
    }

    fn start(&self, name: &str, line: &str) -> Running {
        let pod = Pod::alone();
        let mut object = self.node.object(&pod, name, json!({}));
        object["status"] = json!({ "phase": "Pending" });
        self.node.api.put(object.clone());
        self.runtime.name_pods_in(NAMESPACE);
        let address = self.runtime.start(name, &pod, line);
        // The agent has written to it meanwhile.
        let mut object = self.node.api.get("Pod", NAMESPACE, name).unwrap_or(object);
        object["status"] = json!({ "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }] });
        self.node.api.put(object);
        Running { name: name.to_owned(), address, pod }
    }

    /// Runs a line of shell in a pod's container, to its end, and hands on what it printed.
    pub(super) fn inside(&self, pod: &Running, line: &str) -> Result<String> {
        observed(|| self.runtime.run(&format!("podman exec {}-app sh -c {}", pod.name, quoted(line))))
    }

    /// What the app of a pod has printed.
    pub(super) fn printed(&self, pod: &Running) -> Result<String> {
        observed(|| self.runtime.run(&format!("podman logs {}-app", pod.name)))
    }

    /// That the network of a pod has no rule of netfilter.
    pub(super) fn no_rules(&self, pod: &Running) -> Result<String> {
        let pid = observed(|| {
            self.runtime.run(&format!("podman inspect --format '{{{{.State.Pid}}}}' {}-app", pod.name))
        })?;
        let mut rules = Command::new("nsenter");
        rules.args(["--target", pid.trim(), "--net", "iptables-save"]);
        let found = capture(&mut rules)?;
        let rule = found.lines().find(|line| line.starts_with("-A"));
        ensure!(rule.is_none(), "expected none, found {rule:?}");
        Ok(String::new())
    }

    /// The network as the runtime reads it.
    pub(super) fn network(&self) -> Result<Value> {
        let path = self.runtime.network();
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("read {text}"))
    }

    /// Has the DaemonSet deleted and its agent told to end, as a kubelet does.
    pub(super) fn end(&self, agent: &Agent<'_>) -> String {
        self.node.want(false);
        let status = agent.process.stop(Signal::SIGTERM);
        assert!(status.success(), "{status}: {}", agent.process.stderr());
        String::new()
    }
}

/// A word for the shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// The files of the image of both apps.
fn fill(root: &Path) {
    rootfs::nginx(root, GREETING);
    rootfs::write(&root.join("etc/nginx/nginx.conf"), &NGINX.replace("GREETING", GREETING));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_word_is_one_word_whatever_is_in_it() {
        assert_eq!(quoted("echo 'a b'"), "'echo '\\''a b'\\'''");
    }
}
