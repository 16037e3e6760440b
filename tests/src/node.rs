//! The agent of a node, with an API server of its own; and what a kubelet and a container runtime do beside it.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::access::AccessLog;
use crate::api::Api;
use crate::mesh::NAMESPACE;
use crate::metrics::{self, Sample};
use crate::pod::{remove_sockets, unpin};
use crate::process::Process;
use crate::sidestep::{BPFFS, binary, directory, mount_bpffs, replace};
use crate::{Cgroup, Mesh, Namespace, Place, Pod, eventually};

/// The name of the node.
pub const NAME: &str = "worker-1";
/// The DaemonSet that the agent belongs to.
const DAEMON_SET: (&str, &str) = ("sidestep", "sidestep");
const ADMIN: u16 = 15021;
const API: u16 = 6443;

/// A node: an API server, a directory for its files, and where agents run.
#[derive(Debug)]
pub struct Node {
    /// The API server, which the agents reach.
    pub api: Api,
    /// The authority that signs for every pod.
    pub mesh: Mesh,
    /// Where agents run.
    pub namespace: Namespace,
    directory: TempDir,
    _alone: MutexGuard<'static, ()>,
}

/// A machine is one node: its agents share one stage. Whoever has an agent of a node started holds this meanwhile.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running `sidestep node`.
#[derive(Debug)]
pub struct Agent<'node> {
    /// The process.
    pub process: Process,
    /// Its access log, of all pods.
    pub log: AccessLog,
    node: &'node Node,
    admin: SocketAddr,
    file: PathBuf,
    /// Where it runs.
    pub cgroup: Cgroup,
}

impl Node {
    /// A node without pods and without an agent, whose DaemonSet is wanted. The pods of [`NAMESPACE`] are to be served.
    ///
    /// # Panics
    /// When anything of it cannot be made.
    #[must_use]
    pub fn new() -> Self {
        let alone = alone();
        mount_bpffs();
        let namespace = Namespace::new();
        let api = Api::inside(&namespace, SocketAddr::from(([127, 0, 0, 1], API)));
        let node = Self { api, mesh: Mesh::new(), namespace, directory: directory(), _alone: alone };
        for sub in ["bin", "net.d"] {
            std::fs::create_dir(node.directory.path().join(sub))
                .unwrap_or_else(|error| panic!("make {sub}: {error}"));
        }
        node.label(&json!({ "sidestep.io/mode": "enabled" }));
        node.api
            .put(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "istio-system" } }));
        node.want(true);
        node
    }

    /// Gives the labels to [`NAMESPACE`] that it has from now on.
    pub fn label(&self, labels: &Value) {
        self.api.put(json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE, "labels": labels },
        }));
    }

    /// Whether the DaemonSet is there.
    pub fn want(&self, wanted: bool) {
        let (namespace, name) = DAEMON_SET;
        if wanted {
            let metadata = json!({ "namespace": namespace, "name": name });
            self.api.put(json!({ "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata }));
        } else {
            self.api.delete("DaemonSet", namespace, name);
        }
    }

    /// The configuration of an agent: `more` are further sections.
    #[must_use]
    pub fn config(&self, more: Value) -> Value {
        let mut config = json!({
            "node": {
                "name": NAME,
                "kubeconfig": self.api.kubeconfig(),
                "daemon-set": format!("{}/{}", DAEMON_SET.0, DAEMON_SET.1),
                "cni": { "bin-dir": self.bin(), "conf-dir": self.networks(), "socket": self.socket() },
            },
            "identity": { "signing-ca": { "directory": self.mesh.authority() } },
        });
        if let (Some(config), Value::Object(more)) = (config.as_object_mut(), more) {
            config.extend(more);
        }
        config
    }

    /// Where the runtime looks for plugins.
    #[must_use]
    pub fn bin(&self) -> PathBuf {
        self.directory.path().join("bin")
    }

    /// Where it looks for networks.
    #[must_use]
    pub fn networks(&self) -> PathBuf {
        self.directory.path().join("net.d")
    }

    /// Where the plugin asks the agent.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("run/agent.sock")
    }

    /// Starts an agent and waits until it is ready.
    ///
    /// # Panics
    /// When it does not get ready.
    #[must_use]
    pub fn agent(&self) -> Agent<'_> {
        self.start(&self.config(json!({})), ADMIN).ready()
    }

    /// Starts a second agent beside the first.
    ///
    /// # Panics
    /// When it does not get ready.
    #[must_use]
    pub fn successor(&self) -> Agent<'_> {
        self.start(&self.config(json!({})), ADMIN + 1).ready()
    }

    /// Starts an agent without waiting for anything.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(&self, config: &Value, admin: u16) -> Agent<'_> {
        self.start_program(&binary(), config, admin)
    }

    /// The same for another file with the product in it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start_program(&self, program: &Path, config: &Value, admin: u16) -> Agent<'_> {
        let admin = SocketAddr::from(([127, 0, 0, 1], admin));
        let file = self.directory.path().join(format!("node-{}.yaml", admin.port()));
        let log = AccessLog::at(self.directory.path().join(format!("access-{}.log", admin.port())));
        let mut config = config.clone();
        config["admin"] = json!({ "address": admin.to_string() });
        config["access-log"] = json!({ "path": log.path(), "format": "json" });
        replace(&file, &format!("{config:#}\n"));
        let cgroup = Cgroup::new();
        let place = Place { cgroup: &cgroup, namespace: &self.namespace, descriptors: None, without: &[] };
        let mut command = place.command(program);
        command.args(["node", "--config"]).arg(&file);
        Agent { process: Process::start(command), log, node: self, admin, file, cgroup }
    }

    /// The object of a pod of [`NAMESPACE`] on this node, running; `more` is merged into its metadata.
    #[must_use]
    pub fn object(&self, pod: &Pod, name: &str, more: Value) -> Value {
        let addresses: Vec<Value> = pod.addresses().iter().map(|address| json!({ "ip": address })).collect();
        let mut object = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "namespace": NAMESPACE, "name": name, "uid": pod.uid,
                "labels": { "app": name },
            },
            "spec": { "nodeName": NAME, "serviceAccountName": name, "containers": [{ "name": "app", "image": "app" }] },
            "status": { "phase": "Running", "podIP": pod.addresses().first(), "podIPs": addresses },
        });
        if let (Some(metadata), Value::Object(more)) = (object["metadata"].as_object_mut(), more) {
            metadata.extend(more);
        }
        object
    }

    /// Tells the API server of a pod that runs here.
    pub fn runs(&self, pod: &Pod, name: &str) {
        self.api.put_status(self.object(pod, name, json!({})));
    }

    /// Calls the plugin as a container runtime does, in the machine's own namespaces.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn plugin(&self, command: &str, pod: &Pod, name: &str) -> Output {
        // Whatever the name of its file is: that is how it knows what it is.
        let program = self.directory.path().join("sidestep-cni");
        let _there = symlink(binary(), &program);
        self.call(Command::new(program), command, pod, name)
    }

    /// Calls a plugin, wherever that is done from.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn call(&self, mut plugin: Command, command: &str, pod: &Pod, name: &str) -> Output {
        let config = json!({
            "cniVersion": "1.0.0", "name": "pods", "type": "sidestep-cni",
            "agent-socket": self.socket(),
            "prevResult": {
                "cniVersion": "1.0.0",
                "interfaces": [{ "name": "eth0", "sandbox": pod.namespace.path() }],
                "ips": pod.addresses().iter().map(|ip| {
                    let bits = if ip.is_ipv4() { 24 } else { 64 };
                    json!({ "address": format!("{ip}/{bits}"), "interface": 0 })
                }).collect::<Vec<_>>(),
            },
        });
        let mut child = plugin
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", format!("sandbox-{}", pod.uid))
            .env("CNI_NETNS", pod.namespace.path())
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", self.bin())
            .env(
                "CNI_ARGS",
                format!(
                    "IgnoreUnknown=1;K8S_POD_NAMESPACE={NAMESPACE};K8S_POD_NAME={name};K8S_POD_UID={}",
                    pod.uid
                ),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("start the plugin: {error}"));
        if let Some(mut input) = child.stdin.take() {
            let _gone = input.write_all(config.to_string().as_bytes());
        }
        child.wait_with_output().unwrap_or_else(|error| panic!("wait for the plugin: {error}"))
    }
}

impl Default for Node {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        remove_sockets("node.sock");
        // An agent that was killed leaves its pins on purpose, and so does one that a successor is expected of.
        let entries = std::fs::read_dir(Path::new(BPFFS).join("sidestep")).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == "node" || name.starts_with(&format!("{NAMESPACE}_")) {
                unpin(&entry.path());
            }
        }
    }
}

impl Agent<'_> {
    /// Hands on the agent once it says that it is ready.
    ///
    /// # Panics
    /// When it ends or does not say so within the patience.
    #[must_use]
    pub fn ready(self) -> Self {
        eventually("the node's agent is ready", || {
            if let Some(status) = self.process.status() {
                panic!("sidestep node ended with {status} before it was ready:\n{}", self.process.stderr());
            }
            match self.http("/readyz") {
                Ok((200, _)) => Ok(()),
                Ok((status, body)) => Err(format!("{status}: {body}")),
                Err(error) => Err(error.to_string()),
            }
        });
        self
    }

    /// Asks its admin address.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn http(&self, path: &str) -> std::io::Result<(u16, String)> {
        self.node.namespace.http(self.admin, path)
    }

    /// Its metrics now.
    ///
    /// # Panics
    /// When it does not serve them.
    #[must_use]
    pub fn metrics(&self) -> Vec<Sample> {
        match self.http("/metrics") {
            Ok((200, text)) => metrics::parse(&text),
            other => panic!("no metrics: {other:?}"),
        }
    }

    /// Waits until it says that it serves a pod.
    ///
    /// # Panics
    /// When it does not within the patience.
    pub fn serves(&self, name: &str) {
        let pod = format!("{NAMESPACE}/{name}");
        eventually(&format!("{pod} is served"), || {
            let text = self.process.stderr();
            let is_it =
                |line: &&str| line.contains("\"serving a pod\"") && line.contains(&format!("{pod:?}"));
            if text.lines().any(|line| is_it(&line)) { Ok(()) } else { Err(text) }
        });
    }

    /// Its configuration file.
    #[must_use]
    pub fn file(&self) -> &PathBuf {
        &self.file
    }
}
