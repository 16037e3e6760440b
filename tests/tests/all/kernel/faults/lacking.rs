//! What a machine or a container lacks: one sentence names it and says what to do, and nothing stays behind.

use std::path::Path;

use sidestep_tests::sidestep::{self, BPFFS};
use sidestep_tests::{Pod, Process, cgroup, leftovers, needs_capture};

/// Runs `sidestep run -- true` with something missing: the exit status is 1 and one line of standard error names it.
fn run_without(flags: &[&str], mode: &str, named: &[&str]) {
    let (pod, _other) = Pod::pair();
    let run = sidestep::run(pod.app().without(flags), &format!("--capture {mode}"), &["true"]);
    assert_eq!(run.process.end().code(), Some(1), "{flags:?}: {}", run.process.stderr());
    complains(&run.process, named);
    assert!(!run.log.path().exists(), "nothing may have begun");
    leftovers::none(&pod);
}

fn complains(process: &Process, named: &[&str]) {
    let complaint = process.stderr();
    assert_eq!(complaint.trim().lines().count(), 1, "one sentence: {complaint}");
    for word in named {
        assert!(complaint.contains(word), "{word:?} in: {complaint}");
    }
}

#[test]
fn a_user_without_privileges_is_told_what_is_missing() {
    needs_capture!();
    run_without(&["--user", "65534"], "ebpf", &["needs CAP_BPF", "run as root"]);
    run_without(&["--user", "65534"], "iptables", &["needs CAP_NET_ADMIN", "run as root"]);
}

#[test]
fn root_without_a_capability_is_told_which_one() {
    needs_capture!();
    let without = |capability| ["--without-capability", capability];
    run_without(&without("net-admin"), "ebpf", &["CAP_NET_ADMIN", "add the capability NET_ADMIN"]);
    run_without(&without("net-admin"), "iptables", &["CAP_NET_ADMIN", "add the capability NET_ADMIN"]);
    run_without(&without("sys-admin"), "ebpf", &["CAP_SYS_ADMIN", "add the capability SYS_ADMIN"]);
}

#[test]
fn the_wider_capability_does_where_the_narrower_one_is_missing() {
    needs_capture!();
    let pod = Pod::alone();
    let place = pod.app().without(&["--without-capability", "bpf"]);
    sidestep::run(place, "", &["true"]).process.succeed();
    leftovers::none(&pod);
}

#[test]
fn a_machine_without_cgroup2_is_named() {
    needs_capture!();
    let mount = cgroup::mount().unwrap_or_default().display().to_string();
    run_without(&["--unmount", &mount], "ebpf", &["needs cgroup2", "mount -t cgroup2"]);
}

#[test]
fn a_kernel_without_btf_is_named() {
    needs_capture!();
    run_without(&["--hide", "/sys/kernel/btf"], "ebpf", &["needs kernel BTF", "CONFIG_DEBUG_INFO_BTF"]);
}

#[test]
fn an_old_kernel_is_named_with_the_way_around_it() {
    needs_capture!();
    let directory = tempfile::tempdir().unwrap();
    let release = directory.path().join("osrelease");
    std::fs::write(&release, "5.4.0-42-generic\n").unwrap();
    let replaced = format!("/proc/sys/kernel/osrelease={}", release.display());
    run_without(&["--replace", &replaced], "ebpf", &["needs kernel 6.1", "Linux 5.4", "--capture iptables"]);
}

#[test]
fn a_bpf_file_system_that_is_not_mounted_is_mounted() {
    needs_capture!();
    let (client, server) = Pod::pair();
    let _echo = crate::ask::echo(&server, "right", server.v4(8080), "");
    let place = client.app().without(&["--unmount", BPFFS]);
    let run = sidestep::run_peer(place, "", &format!("connect {} --send hello", server.v4(8080)));
    assert_eq!(crate::ask::dialled(&run.process).read, "right\nhello");
    run.process.succeed();
    run.log.outbound(server.v4(8080));
    leftovers::none(&client);
}

#[test]
fn a_bpf_file_system_that_cannot_be_mounted_is_named_and_nothing_is_left() {
    needs_capture!();
    let (pod, _other) = Pod::pair();
    // The mount point is not there: /sys/fs shows the cgroups alone.
    let cgroups = cgroup::mount().unwrap_or_default();
    let root = Path::new("/sys/fs/cgroup");
    let flags = ["--unmount", BPFFS, "--hide-beside", &root.display().to_string()];
    assert!(cgroups.starts_with(root), "{}", cgroups.display());
    let run = sidestep::run(pod.app().without(&flags), "", &["true"]);
    assert_eq!(run.process.end().code(), Some(1));
    complains(&run.process, &["BPF file system", "mount -t bpf"]);
    leftovers::none(&pod);
}

#[test]
fn check_says_what_is_missing_and_fails() {
    needs_capture!();
    let pod = Pod::alone();
    let place = pod.sidecar().without(&["--without-capability", "net-admin"]);
    let check = place.start(sidestep::binary(), ["check"]);
    assert_eq!(check.end().code(), Some(1));
    let table = check.stdout().join("\n");
    assert!(table.contains("CAP_NET_ADMIN") && table.contains("not possible"), "{table}");
}
