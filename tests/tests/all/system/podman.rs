//! The shipped manifest as a real pod of two containers: podman and runc, an image FROM scratch, an app that knows nothing
//! of it. The commands are those of `deploy/podman.md`, and the manifest is changed in one path only.

mod injected;

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sidestep_tests::access::Access;
use sidestep_tests::{Need, Pod, cgroup, eventually, leftovers, metrics, needs_capture, rootfs, sidestep};
use tempfile::TempDir;

use super::commands::{Kind, blocks};
use super::server::{answer, write};
use super::shipped;
use super::web::{PAGE, nginx};

/// What the app of the manifest answers with.
const APP: &str = "the app of the pod was here";
/// The image that the manifest names for the app.
const APP_IMAGE: &str = "docker.io/library/nginx:alpine";
/// Where the document expects the static binary.
const BINARY: &str = "target/x86_64-unknown-linux-musl/release/sidestep";
/// The pod's addresses; the harness's pod at the other end has 10.77.0.1 and fd77::1.
const ADDRESSES: [&str; 2] = ["10.77.0.2/24", "fd77::2/64"];

/// A podman with a storage of its own. Dropping it removes its pods.
struct Podman {
    home: TempDir,
    /// Where the pod's cgroup was when somebody asked.
    pod_cgroup: OnceCell<PathBuf>,
}

impl Podman {
    /// A working directory with `deploy/` and the binary in it, and the app's image in the storage.
    fn new() -> Self {
        let home = tempfile::Builder::new().prefix("sidestep-test-").tempdir();
        let home = home.unwrap_or_else(|error| panic!("make a working directory: {error}"));
        let podman = Self { home, pod_cgroup: OnceCell::new() };
        let at = |name: &str| podman.home.path().join(name);
        let storage = format!(
            "[storage]\ndriver = \"vfs\"\ngraphroot = {:?}\nrunroot = {:?}\n",
            at("storage"),
            at("storage-run")
        );
        write(&at("storage.conf"), &storage);
        for directory in
            [at("deploy"), at("rootfs"), at(BINARY).parent().map(Path::to_owned).unwrap_or_default()]
        {
            std::fs::create_dir_all(&directory).unwrap_or_else(|error| panic!("make {directory:?}: {error}"));
        }
        rootfs::copy(&sidestep::binary(), &at(BINARY));
        rootfs::copy(&shipped("deploy/Containerfile"), &at("deploy/Containerfile"));
        write(&at("deploy/sidecar.yaml"), &manifest());
        rootfs::nginx(&at("rootfs"), APP);
        let image = "tar -C rootfs -c . | podman import --change 'ENV PATH=/usr/sbin:/bin' \
                     --change 'CMD [\"nginx\", \"-g\", \"daemon off;\"]' -";
        podman.run(&format!("{image} {APP_IMAGE}"));
        podman
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-euc", line]).current_dir(self.home.path());
        command
            .env("CONTAINERS_CONF", shipped("deploy/containers.conf"))
            .env("CONTAINERS_STORAGE_CONF", self.home.path().join("storage.conf"));
        command
    }

    /// Runs a line of shell to its end, which must be a success, and hands on both streams.
    fn run(&self, line: &str) -> String {
        let output = self.command(line).output().unwrap_or_else(|error| panic!("run {line}: {error}"));
        let printed =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(output.status.success(), "{line}: {}\n{}", output.status, printed.concat());
        printed.concat()
    }

    /// What the instance has logged of connections.
    fn access_log(&self) -> Vec<Access> {
        let logs = self.run("podman logs web-sidestep");
        logs.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for the line of a connection to `destination`.
    fn logged(&self, direction: &str, destination: SocketAddr) -> Access {
        eventually(&format!("an {direction} line for {destination}"), || {
            let lines = self.access_log();
            let wanted = |line: &&Access| {
                line.direction == direction && line.original_destination == Some(destination)
            };
            lines.iter().find(wanted).cloned().ok_or_else(|| self.run("podman logs web-sidestep"))
        })
    }

    /// The cgroup of the pod, below the cgroup2 mount.
    fn pod_cgroup(&self) -> &Path {
        self.pod_cgroup.get_or_init(|| {
            let inspected: Value =
                serde_json::from_str(&self.run("podman pod inspect web")).unwrap_or_default();
            let path = inspected["CgroupPath"].as_str();
            let path = path.unwrap_or_else(|| panic!("no CgroupPath in {inspected}"));
            mount().join(path.trim_start_matches('/'))
        })
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // What a failed test has left; after one that passed there is nothing.
        let _ = self.command("podman pod stop --all --time 15; podman pod rm --force --all").output();
        // Podman forgets the version 2 cgroup of a pod where version 1 controllers are mounted beside it. One in which
        // something lives, or that is not ours alone, is not empty, and stays.
        if let Some(cgroup) = self.pod_cgroup.get() {
            let _ = std::fs::remove_dir(cgroup);
            let _ = cgroup.parent().map(std::fs::remove_dir);
        }
    }
}

/// The shipped manifest with this machine's place of cgroup2.
fn manifest() -> String {
    let text = std::fs::read_to_string(shipped("deploy/sidecar.yaml"));
    let text = text.unwrap_or_else(|error| panic!("read the manifest: {error}"));
    let wanted = "        path: /sys/fs/cgroup\n";
    assert_eq!(text.matches(wanted).count(), 1, "the manifest names the cgroup2 mount once");
    text.replace(wanted, &format!("        path: {}\n", mount().display()))
}

fn mount() -> PathBuf {
    cgroup::mount().unwrap_or_else(|| panic!("the cgroup2 hierarchy has gone"))
}

/// Joins the network of a pod of podman's and one of the harness's.
fn connect(client: &mut Pod, podman: &Podman) {
    let pid = main_process(podman, "web-app");
    let inside = |line: &str| podman.run(&format!("nsenter --net=/proc/{pid}/ns/net ip {line}"));
    let near = client.namespace.name().to_owned();
    podman.run(&format!("ip link add eth0 netns {near} type veth peer name eth0 netns {pid}"));
    for (own, other) in [("10.77.0.1/24", ADDRESSES[0]), ("fd77::1/64", ADDRESSES[1])] {
        client.add_address(own);
        inside(&format!("address add {other} dev eth0{}", if other.contains(':') { " nodad" } else { "" }));
    }
    client.namespace.ip(&["link", "set", "eth0", "up"]);
    inside("link set eth0 up");
}

fn ready(client: &Pod, admin: SocketAddr, podman: &Podman) {
    eventually("the sidecar of the pod is ready", || match client.namespace.http(admin, "/readyz") {
        Ok((200, _)) => Ok(()),
        other => Err((format!("{other:?}"), podman.run("podman logs web-sidestep; podman ps --all"))),
    });
}

#[test]
fn the_shipped_manifest_is_a_real_pod_with_a_sidecar() {
    needs_capture!(
        Need::Tool("podman"),
        Need::Tool("runc"),
        Need::Tool("nginx"),
        Need::Tool("curl"),
        Need::Tool("busybox"),
        Need::Tool("nsenter"),
        Need::StaticSidestep,
        Need::Ipv6
    );
    let mut client = Pod::alone();
    let podman = Podman::new();
    let document = blocks(&shipped("deploy/podman.md"));
    let [block] = document.as_slice() else { panic!("one block of commands in podman.md") };
    assert_eq!(block.kind, Kind::Podman);
    let lines = block.lines();
    let (start, rest) = lines.split_at(2);
    start.iter().for_each(|line| drop(podman.run(line)));
    let pod_cgroup = podman.pod_cgroup().to_owned();
    connect(&mut client, &podman);
    let nginx = nginx(&client);
    let [v4, v6] = ADDRESSES.map(|address| address.split('/').next().unwrap_or_default());
    let at = |address: &str, port| {
        SocketAddr::new(address.parse().unwrap_or_else(|error| panic!("{error}")), port)
    };
    let admin = at(v4, 15021);
    ready(&client, admin, &podman);

    for (own, address) in [(client.v4(8080), v4), (client.v6(8080), v6)] {
        let app = at(address, 80);
        let page = answer(client.app(), "curl", ["-sSfg", &format!("http://{app}/")]);
        assert_eq!(page, APP);
        let inbound = podman.logged("inbound", app);
        assert_eq!((inbound.workload.as_str(), inbound.verdict.as_str()), ("web", "proxy"));
        assert_eq!(inbound.source.map(|source| source.ip()), Some(own.ip()));
        let requests = podman.run("podman logs web-app");
        assert!(requests.lines().any(|line| line.starts_with(&format!("{} - ", own.ip()))), "{requests}");

        let page = podman.run(&format!("podman exec web-app wget -q -O - 'http://{own}/'"));
        assert_eq!(page, PAGE);
        assert_eq!(podman.logged("outbound", own).upstream, Some(own));
        assert!(nginx.file("access.log").contains(address), "nginx heard from the pod");
    }
    let (_, text) =
        client.namespace.http(admin, "/metrics").unwrap_or_else(|error| panic!("metrics: {error}"));
    let counted = |direction| {
        let labels = [("direction", direction), ("verdict", "proxy")];
        metrics::sum(&metrics::parse(&text), sidestep::VERDICTS, &labels)
    };
    assert_eq!((counted("inbound"), counted("outbound")), (2.0, 2.0), "{text}");
    assert_eq!(netfilter(&podman), "", "no rule in the pod");

    killed_instance_comes_back(&client, &podman, admin);
    let page = answer(client.app(), "curl", ["-sSf", &format!("http://{}/", at(v4, 80))]);
    assert_eq!(page, APP);

    rest.iter().for_each(|line| drop(podman.run(line)));
    assert_eq!(leftovers::pins("web"), Vec::<String>::new());
    assert!(!pod_cgroup.exists() || is_empty(&pod_cgroup), "{}", pod_cgroup.display());
}

/// Kills the instance; podman starts it again, and the new process adopts what the old one pinned.
fn killed_instance_comes_back(client: &Pod, podman: &Podman, admin: SocketAddr) {
    let pins = leftovers::pins("web");
    assert_eq!(pins.len(), 1, "{pins:?}");
    let first = main_process(podman, "web-sidestep");
    podman.run(&format!("kill -KILL {first}"));
    eventually("podman starts the instance again", || {
        let now = main_process(podman, "web-sidestep");
        if now == first || now == "0" { Err(now) } else { Ok(()) }
    });
    ready(client, admin, podman);
    assert_eq!(leftovers::pins("web"), pins, "the pins are those of the pod");
}

/// The process of a container in the machine's numbering; 0 while there is none.
fn main_process(podman: &Podman, container: &str) -> String {
    podman.run(&format!("podman inspect --format '{{{{.State.Pid}}}}' {container}")).trim().to_owned()
}

/// Rules in the pod's own network namespace.
fn netfilter(podman: &Podman) -> String {
    let pid = main_process(podman, "web-app");
    podman.run(&format!(
        "nsenter --net=/proc/{}/ns/net cat /proc/net/ip_tables_names /proc/net/ip6_tables_names",
        pid
    ))
}

fn is_empty(cgroup: &Path) -> bool {
    std::fs::read_to_string(cgroup.join("cgroup.events")).is_ok_and(|events| events.contains("populated 0"))
}
