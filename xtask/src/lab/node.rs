//! A Kubernetes node on this machine: an API server in memory, the node's agent, and what a kubelet and a container runtime
//! do beside it. Its pods are those of the lab.
//!
//! The API server is that of the tests: there is one of them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use sidestep_tests::Api;

use super::cgroup::Cgroup;
use super::http::{self, Answer};
use super::mesh::NAMESPACE;
use super::namespace::Namespace;
use super::pod::place;
use super::sidecar::PINS;
use super::{Authority, Lab, Pod, Program, names_in};

/// The name of the node.
const NAME: &str = "worker-1";
/// The DaemonSet that the agent belongs to.
const DAEMON_SET: &str = "sidestep";
/// Where the first agent answers for itself, inside the node's namespace. The next ones follow.
const ADMIN: u16 = 15021;
/// Where the API server listens, inside the node's namespace.
const API: u16 = 6443;
/// What the pods of a node share is pinned by this name: a machine is one node.
const SHARED: &str = "node";

/// What an agent says when it serves a pod.
pub(crate) const SERVING: &str = "serving a pod";
/// What it says when it has let go of one.
pub(crate) const LET_GO: &str = "a pod is served no more";
/// How long it may take to say so of very many.
const SAYING: Duration = Duration::from_secs(120);

/// A point of an agent's log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Since(u64);

impl Since {
    /// Its beginning.
    pub(crate) const START: Self = Self(0);
}

/// A node, its agents' files and its API server. Dropped after its agents and pods, it removes everything.
#[derive(Debug)]
pub(crate) struct Node<'lab> {
    lab: &'lab Lab,
    api: Api,
    authority: PathBuf,
    directory: PathBuf,
    namespace: Namespace,
    /// How many agents were started beside another.
    successors: AtomicU16,
}

/// A running `sidestep node`. Dropped, it is killed, and its pods stay captured until the node is dropped.
#[derive(Debug)]
pub(crate) struct Agent<'node> {
    // Before the cgroup: what runs inside goes first.
    program: Program,
    node: &'node Node<'node>,
    admin: SocketAddr,
    _cgroup: Cgroup,
}

impl<'lab> Node<'lab> {
    /// A node without pods and without an agent; the authority signs for every pod. The pods of [`NAMESPACE`] are to be
    /// served.
    pub(crate) fn open(lab: &'lab Lab, authority: &Authority) -> Result<Self> {
        ensure!(!is_served()?, "an agent serves this machine as a node already, and a machine is one node");
        let namespace = Namespace::create(lab.name("node"))?;
        let directory = lab.file("node");
        for part in ["bin", "net.d"] {
            let part = directory.join(part);
            fs::create_dir_all(&part).with_context(|| format!("create {}", part.display()))?;
        }
        let api = Api::within(&namespace.path(), SocketAddr::from(([127, 0, 0, 1], API)));
        let authority = authority.directory().to_owned();
        let node = Self { lab, api, authority, directory, namespace, successors: AtomicU16::new(0) };
        node.put(json!({
            "kind": "Namespace", "metadata": { "name": NAMESPACE, "labels": { "sidestep.io/mode": "enabled" } },
        }));
        node.put(json!({ "kind": "Namespace", "metadata": { "name": "istio-system" } }));
        node.put(json!({
            "kind": "DaemonSet", "metadata": { "namespace": NAMESPACE, "name": DAEMON_SET },
        }));
        Ok(node)
    }

    /// Tells the API server of an object, or of what it is from now on. Its `apiVersion` goes without saying.
    pub(crate) fn put(&self, object: Value) {
        self.api.put(object);
    }

    /// Takes an object of [`NAMESPACE`] away from the API server.
    pub(crate) fn delete(&self, kind: &str, name: &str) {
        self.api.delete(kind, NAMESPACE, name);
    }

    /// Tells the API server of a pod of [`NAMESPACE`] that runs here, as a service account of its own name. One that was
    /// running before its agent needs a process in it: see [`Self::pause`].
    pub(crate) fn runs(&self, pod: &Pod, name: &str) {
        let addresses = pod.addresses().map(|address| json!({ "ip": address }));
        let status = json!({ "phase": "Running", "podIP": pod.addresses()[0], "podIPs": addresses });
        self.put_pod(pod, name, &json!({}), &status);
    }

    /// Tells it that one that runs is not to be served any more. (One whose object is gone is served until nothing lives in it.)
    pub(crate) fn disable(&self, pod: &Pod, name: &str) {
        self.put_pod(pod, name, &json!({ "sidestep.io/mode": "disabled" }), &json!({ "phase": "Running" }));
    }

    /// Tells the API server of a pod of [`NAMESPACE`] that is to run here, and has no network yet.
    pub(crate) fn expects(&self, pod: &Pod, name: &str) {
        self.put_pod(pod, name, &json!({}), &json!({ "phase": "Pending" }));
    }

    fn put_pod(&self, pod: &Pod, name: &str, annotations: &Value, status: &Value) {
        self.put(json!({
            "kind": "Pod",
            "metadata": {
                "namespace": NAMESPACE, "name": name, "uid": pod.uid(), "labels": { "app": name },
                "annotations": annotations,
            },
            "spec": {
                "nodeName": NAME, "serviceAccountName": name, "containers": [{ "name": "app", "image": "app" }],
            },
            "status": status,
        }));
    }

    /// The first process of a pod, which keeps its network and is how the agent finds that.
    pub(crate) fn pause(&self, pod: &Pod) -> Result<Program> {
        let mut pause = pod.app("sleep");
        pause.arg("infinity");
        let name = format!("the first process of {}", pod.name());
        let mut program = Program::start(&name, pause, self.lab.file(&format!("{}.pause.log", pod.name())))?;
        // It joins the cgroup first and then the namespace.
        let comm = format!("/proc/{}/comm", program.pid());
        self.lab.patience().until(&format!("{name} to be there"), || {
            program.check()?;
            Ok(fs::read_to_string(&comm).is_ok_and(|comm| comm == "sleep\n").then_some(()))
        })?;
        Ok(program)
    }

    /// Starts the agent and waits until it is ready. `sections` are further ones of its configuration.
    pub(crate) fn agent(&self, sections: &Value) -> Result<Agent<'_>> {
        self.start(sections, ADMIN)?.once_ready()
    }

    /// Starts a further agent beside the one that serves and waits until it is ready: it is taking the node over.
    pub(crate) fn successor(&self, sections: &Value) -> Result<Agent<'_>> {
        let before = self.successors.fetch_add(1, Ordering::Relaxed);
        self.start(sections, ADMIN + 1 + before)?.once_ready()
    }

    fn start(&self, sections: &Value, admin: u16) -> Result<Agent<'_>> {
        let name = format!("agent-{admin}");
        let access_log = self.directory.join(format!("{name}.access.log"));
        let admin = SocketAddr::from(([127, 0, 0, 1], admin));
        // In a directory of its own: it is the directory that an agent watches.
        let home = self.directory.join(&name);
        fs::create_dir_all(&home).with_context(|| format!("create {}", home.display()))?;
        let file = home.join("node.yaml");
        let document = self.document(sections, admin, &access_log);
        fs::write(&file, format!("{document:#}\n")).with_context(|| format!("write {}", file.display()))?;
        let cgroup = Cgroup::create(&self.lab.name(&name))?;
        let mut command = place(cgroup.path(), &self.namespace.path(), self.lab.sidestep().as_os_str());
        command.args(["node", "--config"]).arg(&file);
        let program =
            Program::start("the node's agent", command, self.directory.join(format!("{name}.log")))?;
        Ok(Agent { program, node: self, admin, _cgroup: cgroup })
    }

    /// Written as JSON, which is YAML too.
    fn document(&self, sections: &Value, admin: SocketAddr, access_log: &Path) -> Value {
        let mut document = sections.clone();
        document["node"] = json!({
            "name": NAME,
            "kubeconfig": self.api.kubeconfig(),
            "daemon-set": format!("{NAMESPACE}/{DAEMON_SET}"),
            "cni": {
                "bin-dir": self.directory.join("bin"),
                "conf-dir": self.directory.join("net.d"),
                "socket": self.socket(),
            },
        });
        document["identity"] = json!({ "signing-ca": { "directory": self.authority } });
        // Whoever stops an agent here has no use for what is still open.
        document["relay"]["drain-timeout"] = json!("500ms");
        document["admin"] = json!({ "address": admin.to_string() });
        document["access-log"] = json!({ "path": access_log, "format": "json" });
        document
    }

    /// Where the plugin asks the agent.
    fn socket(&self) -> PathBuf {
        self.directory.join("run/agent.sock")
    }

    /// The plugin that an agent has installed, about to be called as a container runtime does: in the machine's own
    /// namespaces. Its configuration belongs on its standard input: see [`Self::call`].
    fn plugin(&self, command: &str, pod: &Pod, name: &str) -> Command {
        let bin = self.directory.join("bin");
        let mut plugin = Command::new(bin.join("sidestep-cni"));
        plugin
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", format!("sandbox-{}", pod.uid()))
            .env("CNI_NETNS", pod.namespace())
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", bin)
            .env(
                "CNI_ARGS",
                format!(
                    "IgnoreUnknown=1;K8S_POD_NAMESPACE={NAMESPACE};K8S_POD_NAME={name};K8S_POD_UID={}",
                    pod.uid()
                ),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        plugin
    }

    /// Calls the plugin that the agent has installed with a command (`ADD`, `DEL`, …), and fails if it does.
    pub(crate) fn call(&self, command: &str, pod: &Pod, name: &str) -> Result<()> {
        let addresses = pod.addresses().map(|ip| {
            let bits = if ip.is_ipv4() { 24 } else { 64 };
            json!({ "address": format!("{ip}/{bits}"), "interface": 0 })
        });
        let network = json!({
            "cniVersion": "1.0.0", "name": "pods", "type": "sidestep-cni", "agent-socket": self.socket(),
            "prevResult": {
                "cniVersion": "1.0.0",
                "interfaces": [{ "name": "eth0", "sandbox": pod.namespace() }],
                "ips": addresses,
            },
        });
        let mut child = self.plugin(command, pod, name).spawn().context("start the CNI plugin")?;
        if let Some(mut input) = child.stdin.take() {
            input
                .write_all(network.to_string().as_bytes())
                .context("tell the CNI plugin its configuration")?;
        }
        let Output { status, stdout, stderr } =
            child.wait_with_output().context("wait for the CNI plugin")?;
        if !status.success() {
            let said = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
            bail!("the CNI plugin ended with {status} for {command} of {name}: {}", said.join(" "));
        }
        Ok(())
    }
}

impl Drop for Node<'_> {
    fn drop(&mut self) {
        // An agent that was killed leaves its pins on purpose, and so does one that a successor is expected of.
        for directory in pinned() {
            if let Err(error) = fs::remove_dir_all(&directory) {
                eprintln!("lab: remove {}: {error}", directory.display());
            }
        }
        // As the product does with its last pins; not empty while another workload has some.
        _ = fs::remove_dir(PINS);
    }
}

impl Agent<'_> {
    fn once_ready(mut self) -> Result<Self> {
        let patience = self.node.lab.patience();
        patience.until("the node's agent to be ready", || {
            self.program.check()?;
            Ok(self.ask("/readyz").ok().filter(|answer| answer.status == 200).map(drop))
        })?;
        Ok(self)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> Pid {
        self.program.pid()
    }

    /// What it has logged so far.
    pub(crate) fn said(&self) -> String {
        self.program.said()
    }

    /// Waits until it serves the pod of that name.
    pub(crate) fn until_serves(&mut self, name: &str) -> Result<()> {
        self.until_says(SERVING, &[name.to_owned()], Since::START).map(drop)
    }

    /// The end of its log: what it says from now on comes after it.
    pub(crate) fn now(&self) -> Since {
        Since(self.program.said_bytes())
    }

    /// Waits until it has said something of each of these pods, and tells when it said so last.
    pub(crate) fn until_says(&mut self, message: &str, pods: &[String], since: Since) -> Result<SystemTime> {
        let patience = self.node.lab.patience().up_to(SAYING);
        let mut awaited: BTreeSet<String> = pods.iter().map(|name| format!("{NAMESPACE}/{name}")).collect();
        let (mut read, mut last) = (since.0, SystemTime::UNIX_EPOCH);
        patience.until(&format!("{message:?} of {} pods", pods.len()), || {
            self.program.check()?;
            let text = self.program.said_after(read);
            let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
            read += whole.len() as u64;
            for (at, pod) in whole.lines().filter_map(|line| said_of_pod(line, message)) {
                if awaited.remove(&pod) {
                    last = last.max(at);
                }
            }
            Ok(awaited.is_empty().then_some(last))
        })
    }

    /// When it first said something of any pod.
    pub(crate) fn first_said(&self, message: &str) -> Option<SystemTime> {
        self.said().lines().find_map(|line| said_of_pod(line, message)).map(|(at, _)| at)
    }

    fn ask(&self, path: &str) -> Result<Answer> {
        self.node.namespace.inside(|| http::ask(self.admin, path))
    }

    /// Ends it as the kubelet does, and fails unless it ended well. Where its DaemonSet is still there, its pods stay
    /// captured.
    pub(crate) fn stop(mut self) -> Result<()> {
        let status = self.program.stop()?;
        ensure!(status.success(), "the node's agent ended with {status} after SIGTERM");
        Ok(())
    }
}

/// When a line of the log says something of a pod, and of which.
fn said_of_pod(line: &str, message: &str) -> Option<(SystemTime, String)> {
    let line: Value = serde_json::from_str(line).ok()?;
    let fields = &line["fields"];
    let pod = (fields["message"] == message).then(|| fields["pod"].as_str())??;
    Some((humantime::parse_rfc3339_weak(line["timestamp"].as_str()?).ok()?, pod.to_owned()))
}

/// The directories of what is pinned of a node and of its pods.
pub(crate) fn pinned() -> Vec<PathBuf> {
    pins().into_iter().map(|name| Path::new(PINS).join(name)).collect()
}

fn pins() -> Vec<String> {
    let of_pods = format!("{NAMESPACE}_");
    let names = names_in(Path::new(PINS)).into_iter();
    names.filter(|name| name == SHARED || name.starts_with(&of_pods)).collect()
}

/// Whether a live agent serves this machine: it holds a lock on what the pods share.
fn is_served() -> Result<bool> {
    let directory = Path::new(PINS).join(SHARED);
    let Ok(file) = File::open(&directory) else { return Ok(false) };
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(_free) => Ok(false),
        Err((_, Errno::EWOULDBLOCK)) => Ok(true),
        Err((_, error)) => Err(error).with_context(|| format!("lock {}", directory.display())),
    }
}
