//! A container runtime: a podman with a storage and a network of its own that calls CNI plugins, whose pods live below the
//! cgroups that were made for them.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::rootfs::write;
use crate::sidestep::shipped;
use crate::{Pod, cgroup};

const IMAGE: &str = "localhost/app:1";
/// Where distributions have the plugins of containernetworking.
const PLUGINS: &str = "/usr/lib/cni";

/// Dropping it ends its pods and removes its network.
#[derive(Debug)]
pub struct Runtime {
    home: TempDir,
    network: PathBuf,
    /// The bridge of its network. In the machine's own namespace, because that is where a runtime is.
    bridge: String,
    subnet: String,
    parents: Mutex<Vec<String>>,
}

impl Runtime {
    /// With a network in `networks`, plugins in `bin`, and an image of the files that `fill` puts into a directory.
    ///
    /// # Panics
    /// When anything of it cannot be made.
    pub fn new(networks: &Path, bin: &Path, fill: impl FnOnce(&Path)) -> Self {
        let home = tempfile::Builder::new().prefix("sidestep-test-").tempdir();
        let home = home.unwrap_or_else(|error| panic!("make a working directory: {error}"));
        let number = std::process::id() % 0xff_ffff;
        let runtime = Self {
            network: networks.join("10-pods.conflist"),
            bridge: format!("sst{number:06x}"),
            // Of 10.64.0.0/10, one for each test process and no one else's on a machine of tests.
            subnet: format!("10.{}.{}", 64 + number % 64, (number / 64) % 256),
            parents: Mutex::default(),
            home,
        };
        let at = |name: &str| runtime.home.path().join(name);
        let network = json!({
            "cniVersion": "0.4.0",
            "name": "pods",
            "plugins": [{
                "type": "bridge", "bridge": runtime.bridge, "isGateway": false, "ipMasq": false,
                "ipam": {
                    "type": "host-local", "dataDir": at("addresses"),
                    "ranges": [[{ "subnet": format!("{}.0/24", runtime.subnet), "rangeEnd": format!("{}.200", runtime.subnet) }]],
                },
            }],
        });
        write(&runtime.network, &format!("{network:#}\n"));
        let own = fs::read_to_string(shipped("deploy/containers.conf"));
        let own = own.unwrap_or_else(|error| panic!("read deploy/containers.conf: {error}"));
        let more = format!(
            "\n[network]\nnetwork_backend = \"cni\"\ncni_plugin_dirs = [{PLUGINS:?}, {bin:?}]\n\
             network_config_dir = {networks:?}\ndefault_network = \"pods\"\n"
        );
        write(&at("containers.conf"), &format!("{own}{more}"));
        let storage = format!(
            "[storage]\ndriver = \"vfs\"\ngraphroot = {:?}\nrunroot = {:?}\n",
            at("storage"),
            at("storage-run")
        );
        write(&at("storage.conf"), &storage);
        runtime.make_image(fill);
        runtime.run(&format!("ip link add {0} type bridge; ip link set {0} up", runtime.bridge));
        runtime
    }

    fn make_image(&self, fill: impl FnOnce(&Path)) {
        fill(&self.home.path().join("rootfs"));
        self.run(&format!("tar -C rootfs -c . | podman import --change 'ENV PATH=/bin:/usr/sbin' - {IMAGE}"));
    }

    /// Tells the plugin behind the others in which namespace pods are, which podman does not.
    ///
    /// # Panics
    /// When there is no network, or the plugin is not in it.
    pub fn name_pods_in(&self, namespace: &str) {
        self.tell_plugin(&json!({ "pod-namespace": namespace }));
    }

    /// Gives the agent's plugin these settings beside its own.
    ///
    /// # Panics
    /// When there is no network, or the plugin is not in it.
    pub fn tell_plugin(&self, settings: &Value) {
        let path = &self.network;
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("read {path:?}: {error}"));
        let mut network: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let mut plugins = network["plugins"].as_array_mut().into_iter().flatten();
        let own = plugins.find(|plugin| plugin["type"] == "sidestep-cni").and_then(Value::as_object_mut);
        let own = own.unwrap_or_else(|| panic!("the plugin is not in {text}"));
        own.extend(settings.as_object().cloned().unwrap_or_default());
        write(path, &network.to_string());
    }

    /// The bridge that its pods are joined by.
    #[must_use]
    pub fn bridge(&self) -> &str {
        &self.bridge
    }

    /// The file of its network.
    #[must_use]
    pub fn network(&self) -> PathBuf {
        self.network.clone()
    }

    /// Gives a pod of the harness an address in its network.
    ///
    /// # Panics
    /// When `ip` refuses it.
    pub fn join(&self, pod: &mut Pod) {
        let (near, bridge) = (format!("{}v", self.bridge), &self.bridge);
        let far = pod.namespace.name().to_owned();
        self.run(&format!("ip link add {near} type veth peer name eth0 netns {far}"));
        self.run(&format!("ip link set {near} master {bridge} up"));
        pod.add_address(&format!("{}.250/24", self.subnet));
        pod.namespace.ip(&["link", "set", "eth0", "up"]);
    }

    /// Starts a pod whose app runs a line of shell, and says which address it was given.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(&self, name: &str, pod: &Pod, line: &str) -> IpAddr {
        let output = self.try_start(name, pod, line);
        let said = said(&output);
        assert!(output.status.success(), "start {name}: {}\n{said}", output.status);
        let inspect = format!(
            "podman inspect --format '{{{{range .NetworkSettings.Networks}}}}{{{{.IPAddress}}}}{{{{end}}}}' \
             $(podman pod inspect --format '{{{{.InfraContainerID}}}}' {name})"
        );
        let address = self.run(&inspect);
        address.trim().parse().unwrap_or_else(|error| panic!("the address of {name}, {address:?}: {error}"))
    }

    /// Tries to, and hands on what podman says of its failure.
    ///
    /// # Panics
    /// When it starts.
    pub fn cannot_start(&self, name: &str, pod: &Pod, line: &str) -> String {
        let output = self.try_start(name, pod, line);
        assert!(!output.status.success(), "{name} started: {}", said(&output));
        said(&output)
    }

    fn try_start(&self, name: &str, pod: &Pod, line: &str) -> Output {
        let mount = cgroup::mount().unwrap_or_else(|| panic!("the cgroup2 hierarchy has gone"));
        let below = pod.cgroup.path().strip_prefix(&mount).unwrap_or(pod.cgroup.path());
        let parent = format!("/{}", below.display());
        self.parents.lock().unwrap_or_else(PoisonError::into_inner).push(parent.clone());
        let line = format!(
            "podman pod create --name {name} --infra-image {IMAGE} --infra-command 'sleep 100000' --network pods \
             --cgroup-parent {parent} >&2 && podman run --detach --name {name}-app --pod {name} {IMAGE} sh -c '{line}' >&2"
        );
        self.output(&line)
    }

    /// Ends a pod.
    ///
    /// # Panics
    /// When podman refuses it.
    pub fn end(&self, name: &str) {
        self.run(&format!("podman pod rm --force --time 0 {name}"));
    }

    /// Runs a line of shell to its end, which must be a success, and hands on both streams.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(&self, line: &str) -> String {
        let output = self.output(line);
        assert!(output.status.success(), "{line}: {}\n{}", output.status, said(&output));
        said(&output)
    }

    fn output(&self, line: &str) -> Output {
        let mut command = Command::new("sh");
        command.args(["-euc", line]).current_dir(self.home.path());
        command
            .env("CONTAINERS_CONF", self.home.path().join("containers.conf"))
            .env("CONTAINERS_STORAGE_CONF", self.home.path().join("storage.conf"));
        command.output().unwrap_or_else(|error| panic!("run {line}: {error}"))
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // What a failed test has left; after one that passed there are no pods.
        let _ = self.output("podman pod rm --all --force --time 0; podman rm --all --force --time 0");
        let _ = self.output(&format!("ip link del {}", self.bridge));
        // Podman makes the parents of its cgroups in every hierarchy, and forgets them.
        let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        for hierarchy in hierarchies.map(|entry| entry.path()) {
            for parent in self.parents.get_mut().unwrap_or_else(PoisonError::into_inner).iter() {
                let _ = remove(&hierarchy.join(parent.trim_start_matches('/')));
                let above = Path::new(parent).parent().unwrap_or(Path::new("/"));
                let _ = fs::remove_dir(hierarchy.join(above.strip_prefix("/").unwrap_or(above)));
            }
        }
    }
}

/// Removes a cgroup and those below it, if nothing lives in them.
fn remove(cgroup: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(cgroup)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(cgroup)
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}
