//! A pod as a container runtime makes it: a network namespace, a pod-level cgroup named after the pod's uid, a cgroup
//! below that for the app and one for the sidecar.

use std::ffi::OsStr;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use nix::unistd::Pid;

use super::cgroup::Cgroup;
use super::{Lab, Namespace};
use crate::process::capture;

/// From which ports connections are made (Documentation/networking/ip-sysctl.rst).
const LOCAL_PORTS: &str = "net/ipv4/ip_local_port_range";
/// Where a narrowed range begins.
const FIRST_OF_FEW: u16 = 40_000;

/// The addresses at both ends of a wire. It is a world of its own: no packet leaves its two namespaces.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wire;

impl Wire {
    const BITS4: u8 = 24;
    const BITS6: u8 = 64;

    /// The client's two addresses.
    const CLIENT: [&'static str; 2] = ["10.78.0.1", "fd78::1"];
    /// The server's two addresses.
    const SERVER: [&'static str; 2] = ["10.78.0.2", "fd78::2"];
    /// The two addresses of a third pod, and those that the server has towards it.
    const THIRD: [&'static str; 2] = ["10.79.0.1", "fd79::1"];
    /// See [`Self::THIRD`].
    const TOWARDS_THIRD: [&'static str; 2] = ["10.79.0.2", "fd79::2"];

    /// Makes a client and a server pod joined by it; their names end in `<role>client` and `<role>server`.
    pub(crate) fn join(lab: &Lab, role: &str) -> Result<(Rc<Pod>, Rc<Pod>)> {
        let client = Pod::create(lab, &format!("{role}client"), Self::CLIENT)?;
        let server = Pod::create(lab, &format!("{role}server"), Self::SERVER)?;
        Self::between(lab, client, server)
    }

    /// The same, one of many: the addresses of each wire are its own.
    pub(crate) fn one_of_many(lab: &Lab, role: &str, number: u8) -> Result<(Rc<Pod>, Rc<Pod>)> {
        let own = |host: u8| [format!("10.90.{number}.{host}"), format!("fd90:{number:x}::{host:x}")];
        let ([client4, client6], [server4, server6]) = (own(1), own(2));
        let client = Pod::create(lab, &format!("{role}client"), [&client4, &client6])?;
        let server = Pod::create(lab, &format!("{role}server"), [&server4, &server6])?;
        Self::between(lab, client, server)
    }

    fn between(lab: &Lab, client: Pod, server: Pod) -> Result<(Rc<Pod>, Rc<Pod>)> {
        let client_end = Plug { pod: &client, device: "eth0", addresses: client.addresses };
        let server_end = Plug { pod: &server, device: "eth0", addresses: server.addresses };
        Plug::connect(lab, [client_end, server_end])?;
        Ok((Rc::new(client), Rc::new(server)))
    }

    /// Makes a third pod with a wire of its own to the server's, from where the server is reached at its usual addresses.
    /// The pod's name ends in `role`.
    pub(crate) fn third(lab: &Lab, role: &str, server: &Pod) -> Result<Rc<Pod>> {
        let third = Pod::create(lab, role, Self::THIRD)?;
        let far_end = addresses(Self::TOWARDS_THIRD)?;
        let near = Plug { pod: &third, device: "eth0", addresses: third.addresses };
        Plug::connect(lab, [near, Plug { pod: server, device: "eth1", addresses: far_end }])?;
        for (to, via) in server.addresses.iter().zip(far_end) {
            third.namespace.ip(&["route", "add", &to.to_string(), "via", &via.to_string()])?;
        }
        Ok(Rc::new(third))
    }
}

/// One end of a wire.
#[derive(Debug, Clone, Copy)]
struct Plug<'a> {
    pod: &'a Pod,
    device: &'static str,
    addresses: [IpAddr; 2],
}

impl Plug<'_> {
    fn connect(lab: &Lab, [near, far]: [Plug<'_>; 2]) -> Result<()> {
        let mut link = Command::new("ip");
        link.args(["link", "add", near.device, "netns", near.pod.namespace.name(), "type", "veth"]);
        link.args(["peer", "name", far.device, "netns", far.pod.namespace.name()]);
        capture(&mut link)?;
        for plug in [near, far] {
            plug.plug_in()?;
        }
        // Until the kernel has noticed that the wire is whole, neighbours of IPv6 are not answered.
        lab.patience().until("the wire to be up", || {
            let both = [near.is_plugged_in()?, far.is_plugged_in()?];
            Ok((both == [true, true]).then_some(()))
        })
    }

    fn plug_in(self) -> Result<()> {
        let ([v4, v6], namespace) = (self.addresses, &self.pod.namespace);
        let address = |ip, bits| format!("{ip}/{bits}");
        namespace.ip(&["address", "add", &address(v4, Wire::BITS4), "dev", self.device])?;
        // Without duplicate address detection, which would keep it from being used for a second.
        namespace.ip(&["address", "add", &address(v6, Wire::BITS6), "dev", self.device, "nodad"])?;
        namespace.ip(&["link", "set", self.device, "up"])
    }

    fn is_plugged_in(self) -> Result<bool> {
        let mut link = Command::new("ip");
        link.args(["-n", self.pod.namespace.name(), "link", "show", "dev", self.device]);
        Ok(capture(&mut link)?.contains(" state UP "))
    }
}

fn addresses([v4, v6]: [&str; 2]) -> Result<[IpAddr; 2]> {
    Ok([v4.parse().context("read an IPv4 address")?, v6.parse().context("read an IPv6 address")?])
}

/// One workload's surroundings. Dropped, it kills what runs in it and removes all of it.
#[derive(Debug)]
pub(crate) struct Pod {
    name: String,
    uid: String,
    // Before the namespace: what runs inside goes first.
    cgroup: Cgroup,
    app: PathBuf,
    sidecar: PathBuf,
    namespace: Namespace,
    addresses: [IpAddr; 2],
}

impl Pod {
    /// Makes a pod without a wire; its name ends in `role`. The address it answers to belongs to none of its interfaces,
    /// so that whoever connects to it from inside seems to want to go elsewhere.
    pub(crate) fn alone(lab: &Lab, role: &str) -> Result<Self> {
        let pod = Self::create(lab, role, Wire::SERVER)?;
        let address = pod.addresses[0].to_string();
        pod.namespace.ip(&["route", "add", "local", &address, "dev", "lo"])?;
        Ok(pod)
    }

    /// The same, one of many: each has an address of its own.
    pub(crate) fn one_of_many(lab: &Lab, role: &str, number: u16) -> Result<Self> {
        let [high, low] = (number + 1).to_be_bytes();
        let own = [format!("10.80.{high}.{low}"), format!("fd80::{high:x}:{low:x}")];
        let pod = Self::create(lab, role, own.each_ref().map(String::as_str))?;
        pod.namespace.ip(&["route", "add", "local", &own[0], "dev", "lo"])?;
        Ok(pod)
    }

    fn create(lab: &Lab, role: &str, own: [&str; 2]) -> Result<Self> {
        let name = lab.name(role);
        let addresses = addresses(own)?;
        let namespace = Namespace::create(name.clone())?;
        // A link-local address in doubt would hold back the first packet to a neighbour for a second.
        for scope in ["all", "default"] {
            namespace.set_parameter(&format!("net/ipv6/conf/{scope}/accept_dad"), "0")?;
        }
        // A client that opens and closes connections all the time needs its ports back.
        namespace.set_parameter(LOCAL_PORTS, "1024 65535")?;
        namespace.set_parameter("net/ipv4/tcp_tw_reuse", "1")?;
        let uid = uid();
        // Where a kubelet has it beside the others, and as it calls it, which is how the agent of a node finds it.
        let cgroup = Cgroup::create_in(&lab.name("pods"), &format!("pod{uid}"))?;
        let [app, sidecar] = ["app", "sidecar"].map(|part| cgroup.child(part));
        Ok(Self { name, uid, cgroup, app: app?, sidecar: sidecar?, namespace, addresses })
    }

    /// Leaves the pod this many ports to connect from.
    pub(crate) fn narrow_local_ports(&self, count: u16) -> Result<()> {
        let last = FIRST_OF_FEW.saturating_add(count.saturating_sub(1));
        self.namespace.set_parameter(LOCAL_PORTS, &format!("{FIRST_OF_FEW} {last}"))
    }

    /// What its namespace is called.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What a kubelet would know it by.
    pub(crate) fn uid(&self) -> &str {
        &self.uid
    }

    /// The file that stands for its network namespace.
    pub(crate) fn namespace(&self) -> PathBuf {
        self.namespace.path()
    }

    /// What the product calls it.
    pub(crate) fn workload(&self) -> &str {
        super::workload(&self.name)
    }

    /// The number that the kernel knows its network namespace by.
    pub(crate) fn namespace_inode(&self) -> Result<u64> {
        use std::os::unix::fs::MetadataExt as _;
        let path = self.namespace.path();
        Ok(path.metadata().with_context(|| format!("look at {}", path.display()))?.ino())
    }

    /// The directory of the pod-level cgroup.
    pub(crate) fn cgroup(&self) -> &Path {
        self.cgroup.path()
    }

    /// Its IPv4 address and its IPv6 address.
    pub(crate) fn addresses(&self) -> [IpAddr; 2] {
        self.addresses
    }

    /// Its IPv4 address with a port.
    pub(crate) fn v4(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.addresses[0], port)
    }

    /// Its IPv6 address with a port.
    pub(crate) fn v6(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.addresses[1], port)
    }

    /// Runs `work` on a thread of its own in the pod's namespace, in this process's cgroup.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.namespace.inside(work)
    }

    /// A command that will run `program` as the app: in the app's cgroup and the pod's namespace.
    pub(crate) fn app(&self, program: impl AsRef<OsStr>) -> Command {
        self.place(&self.app, program.as_ref())
    }

    /// A command that will run `program` in the sidecar's cgroup and the pod's namespace.
    pub(crate) fn sidecar(&self, program: impl AsRef<OsStr>) -> Command {
        self.place(&self.sidecar, program.as_ref())
    }

    /// What runs in the sidecar's cgroup now.
    pub(crate) fn sidecar_processes(&self) -> Result<Vec<Pid>> {
        let file = self.sidecar.join("cgroup.procs");
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let processes = text.lines().map(|line| {
            let number = line.parse().with_context(|| format!("read the process id {line:?}"))?;
            Ok(Pid::from_raw(number))
        });
        processes.collect()
    }

    fn place(&self, cgroup: &Path, program: &OsStr) -> Command {
        place(cgroup, &self.namespace.path(), program)
    }
}

/// A command that will run `program` in a cgroup and a network namespace.
///
/// The shell joins the cgroup before it becomes the program, so that the pid stays and no socket is older than the move.
/// `nsenter` leaves /sys as it is, where `ip netns exec` would hide cgroups and pins.
pub(super) fn place(cgroup: &Path, namespace: &Path, program: &OsStr) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"echo $$ >"$1/cgroup.procs" && shift && exec nsenter --net="$@""#, "sh"])
        .arg(cgroup)
        .arg(namespace)
        .arg("--")
        .arg(program);
    command
}

/// A uid that no other pod has.
fn uid() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{:08x}-0000-4000-8000-{:012x}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
