//! Who asks at the socket and is no runtime of the node, and who listens there and is no agent: root in a pod has user id 0 as
//! well.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;

use super::*;

/// What came of somebody's asking.
struct Asked<T = Said> {
    said: T,
    counts: Vec<(String, u64)>,
    /// What the agent was asked.
    heard: Vec<String>,
}

/// Calls the plugin where it is not the node's.
fn from(before: &[&str]) -> Option<Asked> {
    calling(before, |node| node.run(node.command(before, "GC", "c1", None)))
}

/// Asks as the plugin would that is made not to care who listens.
const ASKS: &str = r#"
# Who is turned away is so before everything is sent.
$SIG{PIPE} = "IGNORE";
my $socket = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "connect: $!";
my $said = '{"version":1,"request":"status"}';
print $socket pack("N", length $said), $said;
$socket->flush;
sysread $socket, my $answer, 65536;
print $answer;
"#;

/// Has somebody else ask where the node is not.
fn asking_from(before: &[&str]) -> Option<Asked<String>> {
    calling(before, |node| {
        let asked = Command::new(before[0])
            .args(&before[1..])
            .args(["perl", "-MIO::Socket::UNIX", "-e", ASKS])
            .arg(node.socket())
            .output()
            .expect("started");
        String::from_utf8_lossy(&asked.stdout).into_owned()
    })
}

fn calling<T>(before: &[&str], call: impl FnOnce(&Node) -> T) -> Option<Asked<T>> {
    if !can_run(before.first().copied()) {
        return None;
    }
    let (mut node, agent, netns) = (Node::new(), Agent::ready(), Netns::new());
    node.entry = json!({ "timeout": "2s" });
    let serving = node.serve(&agent);
    // What needs no descriptor of a namespace, which not everybody could open.
    let said = call(&node);
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
        let Some(Asked { said, counts, heard }) = asking_from(before) else { return };
        assert_eq!(heard, Vec::<String>::new());
        assert_eq!(counts, [("- stranger".to_owned(), 1)], "{namespace}: {said:?}");
        let expected = format!("not heard: expected a process in the node's own {namespace} namespace");
        assert!(said.contains(&expected) && said.contains(r#""answer":"refused""#), "{said:?}");
    }
}

/// Listens as an agent would that says of every pod that it is captured, and says what it was told.
const FORGES: &str = r#"
# Whom it answers may be gone by then.
$SIG{PIPE} = "IGNORE";
unlink $ARGV[0];
my $listener = IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 1) or die "listen: $!";
$| = 1;
print "listening\n";
my $socket = $listener->accept or die "accept: $!";
my $said = '{"version":1,"answer":"done"}';
print $socket pack("N", length $said), $said;
$socket->flush;
my $heard = "";
$socket->recv($heard, 65536);
print "heard ", length $heard, "\n";
"#;

#[test]
fn whoever_listens_where_the_agent_should_is_believed_nothing_and_told_nothing() {
    for (before, why) in [
        (&["unshare", "--pid", "--fork"][..], "expected a process in the node's own pid namespace"),
        (
            &["unshare", "--user", "--map-root-user"][..],
            "expected a process in the node's own user namespace",
        ),
        (&["setpriv", "--reuid", "65534", "--clear-groups"][..], "expected root, found user 65534"),
    ] {
        if !can_run(before.first().copied()) {
            return;
        }
        let (node, netns) = (Node::new(), Netns::new());
        let place = node.socket().parent().expect("a directory").to_owned();
        fs::create_dir(&place).expect("made");
        for directory in [place.as_path(), node.home.path()] {
            fs::set_permissions(directory, fs::Permissions::from_mode(0o777)).expect("opened");
        }
        let mut forger = Command::new(before[0])
            .args(&before[1..])
            .args(["perl", "-MIO::Socket::UNIX", "-e", FORGES])
            .arg(node.socket())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let mut told = BufReader::new(forger.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
        assert_eq!(told.next().as_deref(), Some("listening"), "{before:?}");
        let said = node.call("ADD", "c1", Some(&netns));
        assert_eq!(told.next().as_deref(), Some("heard 0"), "{before:?}");
        forger.wait().expect("ended");
        assert!(!said.done, "{said:?}");
        let message = said.out["msg"].to_string();
        assert!(message.contains("is not the node's agent") && message.contains(why), "{said:?}");
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
