//! Who asks at the socket and is no runtime of the node: root in a pod has user id 0 as well.

use super::*;

/// What came of somebody's asking.
struct Asked {
    said: Said,
    counts: Vec<(String, u64)>,
    /// What the agent was asked.
    heard: Vec<String>,
}

/// Calls the plugin where it is not the node's.
fn from(before: &[&str]) -> Option<Asked> {
    if !can_run(before.first().copied()) {
        return None;
    }
    let (mut node, agent, netns) = (Node::new(), Agent::ready(), Netns::new());
    node.entry = json!({ "timeout": "2s" });
    let serving = node.serve(&agent);
    // What needs no descriptor of a namespace, which not everybody could open.
    let said = node.run(node.command(before, "GC", "c1", None));
    let counts = counted(&serving);
    let heard = agent.journal();
    // Whoever comes from the node is heard all the same.
    assert!(node.call("ADD", "c2", Some(&netns)).done);
    Some(Asked { said, counts, heard })
}

#[test]
fn root_in_the_namespaces_of_a_pod_is_not_heard() {
    for (namespace, before) in [
        ("pid", &["unshare", "--pid", "--fork"][..]),
        ("user", &["unshare", "--user", "--map-root-user"][..]),
    ] {
        let Some(Asked { said, counts, heard }) = from(before) else { return };
        assert!(!said.done, "{said:?}");
        assert_eq!(heard, Vec::<String>::new());
        assert_eq!(counts, [("- stranger".to_owned(), 1)], "{namespace}: {said:?}");
        let expected = format!("not heard: expected a process in the node's own {namespace} namespace");
        assert!(said.out["msg"].to_string().contains(&expected), "{said:?}");
        assert_eq!(said.out["code"], 100);
    }
}

#[test]
fn root_in_the_cgroup_of_a_pod_is_not_heard() {
    let Some(mount) = cgroup2().filter(|_| can_run(None)) else { return };
    let pod = mount.join(format!("kubepods-test-{}.slice", std::process::id()));
    fs::create_dir(&pod).expect("a cgroup");
    let into = format!("echo $$ > {}/cgroup.procs && exec \"$0\"", pod.display());
    let found = from(&["sh", "-c", &into]);
    eventually("the pod's cgroup can go", || fs::remove_dir(&pod).is_ok());
    let Some(Asked { said, counts, heard }) = found else { return };
    assert_eq!(heard, Vec::<String>::new());
    assert_eq!(counts, [("- stranger".to_owned(), 1)], "{said:?}");
    assert!(said.out["msg"].to_string().contains("kubepods-test"), "{said:?}");
}

#[test]
fn another_user_does_not_get_to_the_socket() {
    let Some(Asked { said, counts, heard }) = from(&["setpriv", "--reuid", "65534", "--clear-groups"]) else {
        return;
    };
    assert_eq!((heard.len(), counts.len()), (0, 0));
    assert!(said.notes.contains("Permission denied"), "{said:?}");
}

fn cgroup2() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let line = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
    line.split(' ').nth(4).map(PathBuf::from)
}
