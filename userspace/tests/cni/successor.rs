//! One agent after the other at the same socket, as when the DaemonSet is upgraded.

use std::thread;

use super::*;

#[test]
fn a_successor_takes_the_socket_and_the_predecessor_leaves_it_alone() {
    if !can_run(None) {
        return;
    }
    let (node, netns) = (Node::new(), Netns::new());
    let (first, second) = (Agent::new(0), Agent::ready());
    let old = node.serve(&first);
    thread::scope(|scope| {
        let begun = scope.spawn(|| node.call("ADD", "c1", Some(&netns)));
        eventually("the first one is at it", || first.journal().len() == 1);
        let new = node.serve(&second);
        assert!(node.call("ADD", "c2", Some(&netns)).done);
        assert_eq!(second.journal().len(), 2);
        first.allowed.add_permits(1);
        node.runtime.block_on(old.stop());
        assert!(begun.join().expect("ended").done, "what was begun is answered by who began it");
        assert!(node.call("ADD", "c3", Some(&netns)).done);
        assert_eq!((first.journal().len(), second.journal().len()), (2, 4));
        drop(new);
    });
    let left = fs::read_dir(node.home.path().join("run")).expect("listed").count();
    assert_eq!(left, 0, "no socket stays behind");
}

#[test]
fn who_was_not_answered_by_an_agent_that_ends_is_answered_by_the_next() {
    if !can_run(None) {
        return;
    }
    let (node, netns) = (Node::new(), Netns::new());
    let (first, second) = (Agent::new(0), Agent::ready());
    let old = node.serve(&first);
    thread::scope(|scope| {
        let asking = scope.spawn(|| node.call("ADD", "c1", Some(&netns)));
        eventually("the first one is at it", || first.journal().len() == 1);
        let new = node.serve(&second);
        // Killed, for all that the plugin sees of it.
        drop(old);
        assert!(asking.join().expect("ended").done);
        assert_eq!(second.journal().len(), 2);
        drop(new);
    });
}
