//! What a runtime asks, and what an agent hears of it.

use std::os::fd::AsFd;
use std::thread;
use std::time::Instant;

use serde_json::json;
use sidestep::cni::RefusalKind;
use sidestep::model::PodKey;
use sidestep::sys::rights::is_network_namespace;

use super::*;

#[test]
fn a_pod_is_added_checked_and_deleted() {
    if !can_run(None) {
        return;
    }
    let (node, agent, netns) = (Node::new(), Agent::ready(), Netns::new());
    let serving = node.serve(&agent);
    for _ in 0..2 {
        let said = node.call("ADD", "c1", Some(&netns));
        assert!(said.done, "{said:?}");
        assert_eq!(said.out, node.network()["prevResult"], "handed on as it came");
    }
    for verb in ["CHECK", "GC", "STATUS", "DEL"] {
        let said = node.call(verb, "c1", Some(&netns));
        assert!(said.done && said.out.is_null() && said.notes.is_empty(), "{verb}: {said:?}");
    }
    let said = node.call("DEL", "c1", None);
    assert!(said.done, "{said:?}");

    let attachments = agent.attachments.lock().expect("whole");
    assert_eq!(attachments.len(), 2);
    for attachment in attachments.iter() {
        assert_eq!(attachment.pod, PodKey::new("shop", "web"));
        assert_eq!(attachment.uid.as_deref(), Some("u-1"));
        assert_eq!(attachment.addresses, [std::net::IpAddr::from([10, 0, 0, 7])]);
        assert_eq!((attachment.network.as_str(), attachment.id.interface.as_str()), ("pods", "eth0"));
        assert!(is_network_namespace(attachment.netns.as_fd()));
        let passed = File::from(attachment.netns.try_clone().expect("cloned"));
        assert_eq!(passed.metadata().expect("metadata").ino(), netns.inode());
    }
    let journal = agent.journal();
    let told: Vec<&str> =
        journal.iter().filter(|entry| !entry.starts_with("begins")).map(String::as_str).collect();
    assert_eq!(
        told,
        [
            "ends ADD c1 shop/web",
            "ends ADD c1 shop/web",
            "CHECK c1",
            "GC pods c1",
            "STATUS",
            "ends DEL c1 shop/web",
            "ends DEL c1 shop/web"
        ]
    );
    let counts = [("ADD done", 2), ("CHECK done", 1), ("DEL done", 2), ("GC done", 1), ("STATUS done", 1)];
    assert_eq!(counted(&serving), counts.map(|(what, count)| (what.to_owned(), count)));
}

#[test]
fn an_agent_that_takes_too_long_keeps_the_pod_from_starting() {
    if !can_run(None) {
        return;
    }
    let (mut node, agent, netns) = (Node::new(), Agent::new(0), Netns::new());
    let serving = node.serve(&agent);
    for (on_failure, done) in [("closed", false), ("open", true)] {
        node.entry = json!({ "timeout": "300ms", "on-failure": on_failure });
        let began = Instant::now();
        let said = node.call("ADD", on_failure, Some(&netns));
        assert!(began.elapsed() < PATIENCE / 2, "{said:?}");
        assert_eq!(said.done, done, "{said:?}");
        if !done {
            assert_eq!(said.out["code"], 11, "{said:?}");
            assert!(said.out["msg"].to_string().contains("within 300ms"), "{said:?}");
        }
    }
    // What was begun is brought to its end, and the DEL that follows waits for it.
    assert_eq!(agent.journal(), ["begins ADD closed shop/web", "begins ADD open shop/web"]);
    node.entry = json!({});
    thread::scope(|scope| {
        let deleting = scope.spawn(|| node.call("DEL", "closed", None));
        agent.allowed.add_permits(4);
        assert!(deleting.join().expect("ended").done);
    });
    let journal = agent.journal();
    let place = |entry: &str| journal.iter().position(|told| told == entry);
    assert!(place("ends ADD closed shop/web") < place("begins DEL closed shop/web"), "{journal:?}");
    assert!(place("ends ADD closed shop/web").is_some(), "{journal:?}");
    drop(serving);
}

#[test]
fn an_add_that_nobody_waits_for_any_more_is_not_begun() {
    if !can_run(None) {
        return;
    }
    let (mut node, agent, netns) = (Node::new(), Agent::new(0), Netns::new());
    let serving = node.serve(&agent);
    node.entry = json!({ "timeout": "300ms" });
    assert!(!node.call("ADD", "c1", Some(&netns)).done);
    assert!(!node.call("ADD", "c1", Some(&netns)).done, "waits for its turn, in vain");
    eventually("the second one is given up", || serving.outcomes().of(Outcome::Abandoned) == 1);
    agent.allowed.add_permits(4);
    eventually("the first one is done", || serving.outcomes().of(Outcome::Done(server::Asked::Add)) == 1);
    assert_eq!(agent.journal(), ["begins ADD c1 shop/web", "ends ADD c1 shop/web"]);
}

#[test]
fn a_pod_that_goes_while_it_is_added_leaves_a_namespace_to_work_with() {
    if !can_run(None) {
        return;
    }
    let (node, agent, netns) = (Node::new(), Agent::new(0), Netns::new());
    let _serving = node.serve(&agent);
    let inode = netns.inode();
    *agent.refusal.lock().expect("whole") =
        Some(Refusal::new(RefusalKind::Gone, "the pod shop/web has gone"));
    thread::scope(|scope| {
        let adding = scope.spawn(|| node.run(node.command(&[], "ADD", "c1", Some(&netns))));
        eventually("the agent is at it", || !agent.journal().is_empty());
        agent.allowed.add_permits(1);
        let said = adding.join().expect("ended");
        assert_eq!(said.out["code"], 3, "{said:?}");
    });
    drop(netns);
    let attachments = agent.attachments.lock().expect("whole");
    let held = File::from(attachments[0].netns.try_clone().expect("cloned"));
    assert_eq!(held.metadata().expect("still there").ino(), inode);
    // A runtime that comes too late is told so, and asks nobody.
    let mut command = node.command(&[], "ADD", "c2", None);
    command.env("CNI_NETNS", "/run/netns/gone");
    let said = node.run(command);
    assert_eq!(said.out["code"], 3, "{said:?}");
    assert_eq!(attachments.len(), 1);
}

#[test]
fn what_the_agent_refuses_has_its_code() {
    if !can_run(None) {
        return;
    }
    let (mut node, agent, netns) = (Node::new(), Agent::ready(), Netns::new());
    let _serving = node.serve(&agent);
    for (kind, code, with_open) in [
        (RefusalKind::TryAgain, 11, true),
        (RefusalKind::Gone, 3, false),
        (RefusalKind::Unservable, 100, false),
        (RefusalKind::Unavailable, 50, false),
    ] {
        *agent.refusal.lock().expect("whole") = Some(Refusal::new(kind, "expected this, found that"));
        node.entry = json!({});
        let said = node.call("ADD", "c1", Some(&netns));
        assert!(!said.done && said.out["code"] == code, "{said:?}");
        assert_eq!(said.out["msg"], "sidestep: expected this, found that");
        assert_eq!(node.call("CHECK", "c1", Some(&netns)).out["code"], code);
        assert!(node.call("DEL", "c1", None).done, "a pod always ends");
        node.entry = json!({ "on-failure": "open" });
        assert_eq!(node.call("ADD", "c1", Some(&netns)).done, with_open, "{kind:?}");
    }
}

#[test]
fn a_hundred_pods_at_once_are_all_added() {
    if !can_run(None) {
        return;
    }
    let (node, agent, netns) = (Node::new(), Agent::ready(), Netns::new());
    let serving = node.serve(&agent);
    thread::scope(|scope| {
        for at in 0..100 {
            let (node, netns) = (&node, &netns);
            scope.spawn(move || {
                let said = node.call("ADD", &format!("c{at}"), Some(netns));
                assert!(said.done, "{said:?}");
            });
        }
    });
    assert_eq!(serving.outcomes().of(Outcome::Done(server::Asked::Add)), 100);
}

#[test]
fn an_add_takes_little_beside_what_the_agent_does() {
    if !can_run(None) {
        return;
    }
    let (node, agent, netns) = (Node::new(), Agent::ready(), Netns::new());
    let _serving = node.serve(&agent);
    let mut taken: Vec<_> = (0..300)
        .map(|at| {
            let began = Instant::now();
            assert!(node.call("ADD", &format!("c{at}"), Some(&netns)).done);
            began.elapsed()
        })
        .collect();
    taken.sort_unstable();
    let (middle, late) = (taken[taken.len() / 2], taken[taken.len() * 99 / 100]);
    println!("ADD takes {middle:?} at the median, {late:?} at the 99th percentile");
    // A build without optimisation says nothing of time.
    assert!(cfg!(debug_assertions) || late < Duration::from_millis(30), "{late:?}");
}
