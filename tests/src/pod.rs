//! A pod: one network namespace and one pod-level cgroup with an `app` and a `sidecar` cgroup below it, as a
//! container runtime makes them.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Once;

use crate::leftovers::pin_directories;
use crate::namespace::{ip, owner_is_gone, serial};
use crate::sidestep::BPFFS;
use crate::{Cgroup, Namespace, Place};

/// What the names of all test workloads begin with.
const WORKLOADS: &str = "sidestep-test-";

/// A workload's surroundings. Dropping it kills what runs in it and removes all of it.
#[derive(Debug)]
pub struct Pod {
    /// Name for the workload, different for every pod.
    pub workload: String,
    /// Joined by apps.
    pub app_cgroup: Cgroup,
    /// Joined by the instance.
    pub sidecar_cgroup: Cgroup,
    /// The pod-level cgroup, named after the uid as a kubelet does. After the two below it, because fields are dropped in order.
    pub cgroup: Cgroup,
    _above: Cgroup,
    /// What a kubelet would know it by.
    pub uid: String,
    /// The network of both.
    pub namespace: Namespace,
    addresses: Vec<IpAddr>,
}

impl Pod {
    /// A pod with nothing but its loopback.
    ///
    /// # Panics
    /// When namespace or cgroups cannot be made.
    #[must_use]
    pub fn alone() -> Self {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(sweep);
        let above = Cgroup::new();
        let uid = format!("{:08x}-0000-4000-8000-{:012x}", std::process::id(), serial());
        let cgroup = above.child(&format!("pod{uid}"));
        Self {
            workload: format!("{WORKLOADS}{}-{}", std::process::id(), serial()),
            app_cgroup: cgroup.child("app"),
            sidecar_cgroup: cgroup.child("sidecar"),
            cgroup,
            _above: above,
            uid,
            namespace: Namespace::new(),
            addresses: Vec::new(),
        }
    }

    /// Two pods joined by a veth pair: 10.77.0.1 and fd77::1 here, 10.77.0.2 and fd77::2 there. Each is the
    /// other's default route, so that any address can be given to either.
    ///
    /// # Panics
    /// When anything of it cannot be made.
    #[must_use]
    pub fn pair() -> (Self, Self) {
        let (mut left, mut right) = (Self::alone(), Self::alone());
        let (near, far) = (left.namespace.name().to_owned(), right.namespace.name().to_owned());
        ip(&["link", "add", "eth0", "netns", &near, "type", "veth", "peer", "name", "eth0", "netns", &far]);
        for (pod, own, other) in [(&mut left, "1", "2"), (&mut right, "2", "1")] {
            pod.add_address(&format!("10.77.0.{own}/24"));
            // Before the link is up, the address would be tentative until the link is, and refuse connections.
            pod.add_address(&format!("fd77::{own}/64"));
            pod.namespace.ip(&["link", "set", "eth0", "up"]);
            pod.namespace.ip(&["route", "add", "default", "via", &format!("10.77.0.{other}")]);
            pod.namespace.ip(&["-6", "route", "add", "default", "via", &format!("fd77::{other}")]);
        }
        (left, right)
    }

    /// So many pods on one switch, which is handed on for as long as they are to reach each other: 10.77.0.1 and fd77::1 for the
    /// first, and so on.
    ///
    /// # Panics
    /// When anything of it cannot be made.
    #[must_use]
    pub fn joined<const COUNT: usize>() -> (Namespace, [Self; COUNT]) {
        let switch = Namespace::new();
        switch.ip(&["link", "add", "switch", "type", "bridge"]);
        switch.ip(&["link", "set", "switch", "up"]);
        let pods = std::array::from_fn(|index| {
            let (mut pod, number) = (Self::alone(), index + 1);
            let (near, far, port) = (pod.namespace.name().to_owned(), switch.name(), format!("pod{number}"));
            ip(&["link", "add", "eth0", "netns", &near, "type", "veth", "peer", "name", &port, "netns", far]);
            switch.ip(&["link", "set", &port, "master", "switch", "up"]);
            pod.add_address(&format!("10.77.0.{number}/24"));
            pod.add_address(&format!("fd77::{number}/64"));
            pod.namespace.ip(&["link", "set", "eth0", "up"]);
            pod
        });
        (switch, pods)
    }

    /// Gives one more address, written as ADDRESS/BITS, to the pod's `eth0`.
    ///
    /// # Panics
    /// When `ip` refuses it.
    pub fn add_address(&mut self, address: &str) {
        let mut command = vec!["address", "add", address, "dev", "eth0"];
        if address.contains(':') {
            command.push("nodad");
        }
        self.namespace.ip(&command);
        let bare = address.split('/').next().unwrap_or_default();
        self.addresses.push(bare.parse().unwrap_or_else(|error| panic!("the address {address}: {error}")));
    }

    /// Makes every address of a prefix the pod's own, as if each had been added.
    ///
    /// # Panics
    /// When `ip` refuses it.
    pub fn own_prefix(&self, prefix: &str) {
        let family = if prefix.contains(':') { "-6" } else { "-4" };
        self.namespace.ip(&[family, "route", "add", "local", prefix, "dev", "lo"]);
    }

    /// Its first IPv4 address with a port.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    pub fn v4(&self, port: u16) -> SocketAddr {
        self.first(IpAddr::is_ipv4, port)
    }

    /// Its first IPv6 address with a port.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    pub fn v6(&self, port: u16) -> SocketAddr {
        self.first(IpAddr::is_ipv6, port)
    }

    fn first(&self, family: impl Fn(&IpAddr) -> bool, port: u16) -> SocketAddr {
        let address = self.addresses.iter().find(|address| family(address));
        SocketAddr::new(*address.unwrap_or_else(|| panic!("{} has no such address", self.workload)), port)
    }

    /// All addresses that were given to it.
    #[must_use]
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Where its apps run.
    #[must_use]
    pub const fn app(&self) -> Place<'_> {
        Place { cgroup: &self.app_cgroup, namespace: &self.namespace, descriptors: None, without: &[] }
    }

    /// Where its instance runs.
    #[must_use]
    pub const fn sidecar(&self) -> Place<'_> {
        Place { cgroup: &self.sidecar_cgroup, namespace: &self.namespace, descriptors: None, without: &[] }
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        // An instance that was killed leaves its pins on purpose. A test that cares has asked before.
        for directory in pin_directories(&self.workload) {
            unpin(&directory);
        }
        // And so is the socket that it was asked at.
        remove_sockets(&format!("{}-", self.workload));
    }
}

/// Removes the sockets of instances that were killed whose names begin so.
pub(crate) fn remove_sockets(beginning: &str) {
    for entry in fs::read_dir("/run/sidestep").into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(beginning) {
            let _gone = fs::remove_file(entry.path());
        }
    }
}

/// Removes the pins of test processes that were killed.
fn sweep() {
    for entry in fs::read_dir(Path::new(BPFFS).join("sidestep")).into_iter().flatten().flatten() {
        if owner_is_gone(&entry.file_name().to_string_lossy(), WORKLOADS) {
            unpin(&entry.path());
        }
    }
}

/// Removes a directory of pins, and the one above if it was the last there, as the product does; attachments end with the
/// last pin or process that holds them.
pub(crate) fn unpin(directory: &Path) {
    match fs::remove_dir_all(directory) {
        Err(error) if directory.exists() => eprintln!("remove {}: {error}", directory.display()),
        _ => {}
    }
    // Not empty while another workload has pins.
    let _others = directory.parent().map(fs::remove_dir);
}
