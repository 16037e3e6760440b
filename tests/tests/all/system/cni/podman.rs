//! A podman with a storage and a network of its own, whose pods live below the cgroups that the test has made for them.

use std::cell::RefCell;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::json;
use sidestep_tests::need::find;
use sidestep_tests::{Pod, cgroup};
use tempfile::TempDir;

use super::super::server::write;
use super::super::{rootfs, shipped};

const IMAGE: &str = "localhost/app:1";
const APPLETS: [&str; 5] = ["sh", "wget", "httpd", "sleep", "cat"];
/// Where distributions have the plugins of containernetworking.
const PLUGINS: &str = "/usr/lib/cni";

/// Dropping it ends its pods and removes its network.
pub(super) struct Podman {
    home: TempDir,
    network: PathBuf,
    /// The bridge of its network. In the machine's own namespace, because that is where a runtime is.
    bridge: String,
    subnet: String,
    parents: RefCell<Vec<String>>,
}

impl Podman {
    /// With a network in `networks`, plugins in `bin`, and an image whose web page is `page`.
    pub(super) fn new(networks: &Path, bin: &Path, page: &str) -> Self {
        let home = tempfile::Builder::new().prefix("sidestep-test-").tempdir();
        let home = home.unwrap_or_else(|error| panic!("make a working directory: {error}"));
        let number = std::process::id() % 0xff_ffff;
        let podman = Self {
            network: networks.join("10-pods.conflist"),
            bridge: format!("sst{number:06x}"),
            // Of 10.64.0.0/10, one for each test process and no one else's on a machine of tests.
            subnet: format!("10.{}.{}", 64 + number % 64, (number / 64) % 256),
            parents: RefCell::default(),
            home,
        };
        let at = |name: &str| podman.home.path().join(name);
        let network = json!({
            "cniVersion": "0.4.0",
            "name": "pods",
            "plugins": [{
                "type": "bridge", "bridge": podman.bridge, "isGateway": false, "ipMasq": false,
                "ipam": {
                    "type": "host-local", "dataDir": at("addresses"),
                    "ranges": [[{ "subnet": format!("{}.0/24", podman.subnet), "rangeEnd": format!("{}.200", podman.subnet) }]],
                },
            }],
        });
        write(&podman.network, &format!("{network:#}\n"));
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
        podman.make_image(page);
        podman.run(&format!("ip link add {0} type bridge; ip link set {0} up", podman.bridge));
        podman
    }

    fn make_image(&self, page: &str) {
        let root = self.home.path().join("rootfs");
        for directory in ["bin", "www", "tmp"] {
            let directory = root.join(directory);
            fs::create_dir_all(&directory).unwrap_or_else(|error| panic!("make {directory:?}: {error}"));
        }
        let busybox = find("busybox").unwrap_or_else(|| panic!("busybox has gone"));
        rootfs::copy(&busybox, &root.join("bin/busybox"));
        for applet in APPLETS {
            let link = std::os::unix::fs::symlink("busybox", root.join("bin").join(applet));
            link.unwrap_or_else(|error| panic!("link {applet}: {error}"));
        }
        write(&root.join("www/index.html"), page);
        self.run(&format!("tar -C rootfs -c . | podman import --change 'ENV PATH=/bin' - {IMAGE}"));
    }

    /// The file of its network.
    pub(super) fn network(&self) -> PathBuf {
        self.network.clone()
    }

    /// Gives a pod of the harness an address in its network.
    pub(super) fn join(&self, pod: &mut Pod) {
        let (near, bridge) = (format!("{}v", self.bridge), &self.bridge);
        let far = pod.namespace.name().to_owned();
        self.run(&format!("ip link add {near} type veth peer name eth0 netns {far}"));
        self.run(&format!("ip link set {near} master {bridge} up"));
        pod.add_address(&format!("{}.250/24", self.subnet));
        pod.namespace.ip(&["link", "set", "eth0", "up"]);
    }

    /// Starts a pod whose app runs a line of shell, and says which address it was given.
    pub(super) fn start(&self, name: &str, pod: &Pod, line: &str) -> IpAddr {
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
    pub(super) fn cannot_start(&self, name: &str, pod: &Pod, line: &str) -> String {
        let output = self.try_start(name, pod, line);
        assert!(!output.status.success(), "{name} started: {}", said(&output));
        said(&output)
    }

    fn try_start(&self, name: &str, pod: &Pod, line: &str) -> Output {
        let mount = cgroup::mount().unwrap_or_else(|| panic!("the cgroup2 hierarchy has gone"));
        let below = pod.cgroup.path().strip_prefix(&mount).unwrap_or(pod.cgroup.path());
        let parent = format!("/{}", below.display());
        self.parents.borrow_mut().push(parent.clone());
        let line = format!(
            "podman pod create --name {name} --infra-image {IMAGE} --infra-command 'sleep 100000' --network pods \
             --cgroup-parent {parent} >&2 && podman run --detach --name {name}-app --pod {name} {IMAGE} sh -c '{line}' >&2"
        );
        self.output(&line)
    }

    /// Ends a pod.
    pub(super) fn end(&self, name: &str) {
        self.run(&format!("podman pod rm --force --time 0 {name}"));
    }

    /// Runs a line of shell to its end, which must be a success, and hands on both streams.
    pub(super) fn run(&self, line: &str) -> String {
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

impl Drop for Podman {
    fn drop(&mut self) {
        // What a failed test has left; after one that passed there are no pods.
        let _ = self.output("podman pod rm --all --force --time 0; podman rm --all --force --time 0");
        let _ = self.output(&format!("ip link del {}", self.bridge));
        // Podman makes the parents of its cgroups in every hierarchy, and forgets them.
        let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        for hierarchy in hierarchies.map(|entry| entry.path()) {
            for parent in self.parents.borrow().iter() {
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
