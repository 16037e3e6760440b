//! Messages that no plugin of ours sends. Only root of the node can, by mistake more than by intent.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use sidestep::sys::rights;

use super::*;

/// What the agent answers to these bytes, sent with these files.
fn answer(node: &Node, bytes: &[u8], files: &[&File]) -> String {
    let mut stream = UnixStream::connect(node.socket()).expect("connected");
    match files {
        [] => {
            stream.write_all(bytes).expect("sent");
        }
        // One with each part, as one message can have only one here.
        files => {
            let part = bytes.len() / files.len();
            for (place, file) in files.iter().enumerate() {
                let end = if place + 1 == files.len() { bytes.len() } else { (place + 1) * part };
                let sent = rights::send(&stream, &bytes[place * part..end], Some(file.as_fd()));
                assert_eq!(sent.expect("sent"), end - place * part);
            }
        }
    }
    stream.shutdown(std::net::Shutdown::Write).expect("shut");
    let mut answer = Vec::new();
    // What is not read of us resets the connection, after the answer.
    let _reset = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(answer.get(4..).unwrap_or_default()).into_owned()
}

fn message(body: &Value) -> Vec<u8> {
    let body = body.to_string();
    [&u32::try_from(body.len()).expect("short").to_be_bytes()[..], body.as_bytes()].concat()
}

#[test]
fn what_is_not_understood_is_refused_and_the_next_is_heard() {
    if !can_run(None) {
        return;
    }
    let (node, agent, netns) = (Node::new(), Agent::ready(), Netns::new());
    let serving = node.serve(&agent);
    let subject = json!({
        "id": { "containerID": "c1", "ifname": "eth0" }, "network": "pods", "netns_path": "/x",
        "pod": { "namespace": "shop", "name": "web" }, "uid": null, "addresses": [],
    });
    let mut add = subject.clone();
    add["version"] = json!(1);
    add["request"] = json!("add");
    let mut nameless = add.clone();
    nameless["pod"] = Value::Null;
    let mut later = add.clone();
    later["version"] = json!(2);
    let other = File::open("/proc/self/ns/mnt").expect("our own");
    for (what, bytes, files, told) in [
        ("too long", vec![0xff; 64], &[][..], "expected a message of"),
        ("nothing", vec![0; 4], &[][..], "expected a message of"),
        ("no JSON", [&[0, 0, 0, 4][..], b"\xff\xfe{}"].concat(), &[][..], "refused"),
        (
            "an unknown request",
            message(&json!({ "version": 1, "request": "dance" })),
            &[][..],
            "unknown variant",
        ),
        ("another version", message(&later), &[&netns.0][..], "expected version 1"),
        ("no descriptor", message(&add), &[][..], "expected one descriptor"),
        ("two descriptors", message(&add), &[&netns.0, &netns.0][..], "expected one descriptor"),
        ("another namespace", message(&add), &[&other][..], "expected a network namespace"),
        ("no pod", message(&nameless), &[&netns.0][..], "expected the names of a pod"),
    ] {
        let answer = answer(&node, &bytes, files);
        assert!(answer.contains(told), "{what}: {answer:?}");
    }
    assert_eq!(answer(&node, b"", &[]), "", "who says nothing is told nothing");
    assert_eq!(agent.journal(), Vec::<String>::new());
    assert!(node.call("ADD", "c1", Some(&netns)).done);
    let outcomes = serving.outcomes();
    assert_eq!(outcomes.of(Outcome::Refused(server::Asked::Add)), 3);
    assert_eq!(outcomes.of(Outcome::Invalid), 6);
}

#[test]
fn who_connects_and_says_nothing_keeps_nobody_waiting() {
    if !can_run(None) {
        return;
    }
    let (node, agent, netns) = (Node::new(), Agent::ready(), Netns::new());
    let _serving = node.serve(&agent);
    // More than are heard at once: the silent ones have to go before the plugin's turn comes.
    let silent: Vec<UnixStream> = (0..300).map_while(|_| UnixStream::connect(node.socket()).ok()).collect();
    assert!(silent.len() >= 256, "{}", silent.len());
    let said = node.call("ADD", "c1", Some(&netns));
    assert!(said.done, "{said:?}");
}
