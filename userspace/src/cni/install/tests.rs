//! The installer against directories like a node's.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;

const LIST: &str = "{\n  \"cniVersion\": \"0.4.0\",\n  \"name\": \"pods\",\n  \"plugins\": [\n    { \"type\": \"ptp\" }\n  ]\n}\n";
const SINGLE: &str = "{ \"cniVersion\": \"0.3.1\", \"name\": \"pods\", \"type\": \"bridge\" }\n";

pub(super) struct Node {
    home: TempDir,
    pub(super) install: Install,
}

impl Node {
    pub(super) fn new(files: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let at = |name: &str| home.path().join(name);
        fs::create_dir(at("net.d")).expect("made");
        fs::write(at("program"), "the program").expect("written");
        let install = Install {
            bin_dir: at("bin"),
            conf_dir: at("net.d"),
            socket: "/run/sidestep/cni/agent.sock".into(),
            on_failure: OnFailure::Closed,
            timeout: TIMEOUT,
            program: at("program"),
        };
        let node = Self { home, install };
        for (name, content) in files {
            node.write(name, content);
        }
        node
    }

    pub(super) fn write(&self, name: &str, content: &str) {
        fs::write(self.install.conf_dir.join(name), content).expect("written");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.install.conf_dir.join(name)).expect(name)
    }

    /// Every file of the node's networks.
    fn files(&self) -> Vec<(String, String)> {
        let entries = fs::read_dir(&self.install.conf_dir).expect("listed");
        let mut files: Vec<(String, String)> = entries
            .map(|entry| {
                let name = entry.expect("listed").file_name().into_string().expect("a name");
                let content = self.read(&name);
                (name, content)
            })
            .collect();
        files.sort();
        files
    }

    pub(super) fn has_entry(&self, name: &str) -> bool {
        fs::read_to_string(self.install.conf_dir.join(name)).is_ok_and(|text| text.contains(PLUGIN))
    }

    fn in_(&self, name: &str) -> Installed {
        Installed::In(fs::canonicalize(&self.install.conf_dir).expect("there").join(name))
    }
}

#[test]
fn the_first_network_has_the_entry_and_nothing_is_left_afterwards() {
    let files =
        [("10-pods.conflist", LIST), ("20-other.conflist", LIST), ("readme.txt", "?"), ("99-x.conf", "{")];
    let node = Node::new(&files);
    fs::set_permissions(node.install.conf_dir.join("10-pods.conflist"), Permissions::from_mode(0o640))
        .expect("set");
    let before = node.files();
    assert_eq!(node.install.apply().expect("installed"), node.in_("10-pods.conflist"));
    let after = node.files();
    assert_eq!(node.install.apply().expect("again"), node.in_("10-pods.conflist"));
    assert_eq!(node.files(), after, "twice is once");
    assert_eq!(after.len(), 4);
    assert!(node.has_entry("10-pods.conflist") && !node.has_entry("20-other.conflist"));
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&node.install.conf_dir.join("10-pods.conflist")), 0o640);
    assert_eq!(mode(&node.install.binary()), 0o755);
    assert_eq!(fs::read_to_string(node.install.binary()).expect("there"), "the program");

    node.install.remove().expect("removed");
    assert_eq!(node.files(), before);
    assert_eq!(fs::read_dir(&node.install.bin_dir).expect("listed").count(), 0);
    node.install.remove().expect("nothing to remove");
}

#[test]
fn a_single_configuration_is_hidden_behind_its_list_and_comes_back() {
    for name in ["10-pods.conf", "10-pods.json"] {
        let node = Node::new(&[(name, SINGLE), ("20-other.conflist", LIST)]);
        let before = node.files();
        assert_eq!(node.install.apply().expect("installed"), node.in_("10-pods.conflist"));
        assert!(node.has_entry("10-pods.conflist") && !node.install.conf_dir.join(name).exists());
        let after = node.files();

        // Whoever it is of writes it anew: then that counts.
        node.write(name, &SINGLE.replace("bridge", "ptp"));
        assert_eq!(node.install.apply().expect("again"), node.in_("10-pods.conflist"));
        assert!(node.read("10-pods.conflist").contains("ptp"));
        node.write(name, SINGLE);
        node.install.apply().expect("again");
        assert_eq!(node.files(), after);

        node.install.remove().expect("removed");
        assert_eq!(node.files(), before);
    }
}

#[test]
fn a_network_that_comes_first_takes_the_entry_over() {
    let node = Node::new(&[("20-other.conflist", LIST)]);
    node.install.apply().expect("installed");
    node.write("10-pods.conf", SINGLE);
    assert_eq!(node.install.apply().expect("again"), node.in_("10-pods.conflist"));
    assert_eq!(node.read("20-other.conflist"), LIST);
}

#[test]
fn a_node_without_a_network_has_the_binary_and_waits() {
    let node = Node::new(&[("10-broken.conflist", "{"), ("20-empty.conflist", "{\"plugins\":[]}")]);
    assert_eq!(node.install.apply().expect("installed"), Installed::NoNetwork);
    assert!(node.install.binary().exists());
}

#[test]
fn an_agent_that_starts_claims_what_another_only_repairs() {
    let node = Node::new(&[("10-pods.conflist", LIST)]);
    let mut other = node.install.clone();
    other.socket = "/run/other.sock".into();
    fs::write(node.home.path().join("other"), "another program").expect("written");
    other.program = node.home.path().join("other");
    node.install.apply().expect("installed");
    other.apply().expect("claimed");
    let claimed = node.files();
    assert!(node.read("10-pods.conflist").contains("/run/other.sock"));
    assert_eq!(fs::read_to_string(other.binary()).expect("there"), "another program");

    assert_eq!(node.install.put(Manner::Repair).expect("stands").1, Changed::No);
    assert_eq!(node.files(), claimed);
    assert_eq!(fs::read_to_string(other.binary()).expect("there"), "another program");

    node.write("10-pods.conflist", LIST);
    fs::remove_file(other.binary()).expect("removed");
    assert_eq!(node.install.put(Manner::Repair).expect("repaired").1, Changed::Yes);
    assert!(node.has_entry("10-pods.conflist") && node.install.binary().exists());
}

#[test]
fn what_dead_agents_have_not_finished_goes() {
    let node = Node::new(&[("10-pods.conflist", LIST)]);
    // No process has a number above the limit of the kernel (PID_MAX_LIMIT).
    node.write(".sidestep-new-4194305-0", "half");
    node.install.apply().expect("installed");
    assert_eq!(node.files().len(), 1);
}

#[test]
fn two_lists_of_one_name_are_told_of() {
    let node = Node::new(&[("10-pods.conf", SINGLE), ("10-pods.conflist", LIST)]);
    let before = node.files();
    let error = node.install.apply().expect_err("ambiguous").to_string();
    assert!(error.contains("10-pods.conflist") && error.contains("10-pods.conf"), "{error}");
    assert_eq!(node.files(), before);
}

#[test]
fn a_directory_that_is_missing_is_named() {
    let mut node = Node::new(&[]);
    node.install.conf_dir = "/nowhere".into();
    let error = node.install.apply().expect_err("missing").to_string();
    assert!(error.starts_with("cannot list /nowhere: "), "{error}");
}
