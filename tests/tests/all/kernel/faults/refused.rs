//! What is refused at the start because it is wrong: files, paths, cgroups. Nothing is half attached.

use serde_json::json;
use sidestep_tests::{Cgroup, Config, Pod, Process, Sidestep, cgroup, leftovers, needs_capture, sidestep};

/// Files that are wrong, and what the complaint must contain.
const WRONG: [(&str, &[&str]); 5] = [
    ("outbund: {}\n", &["wrong.yaml:1", "outbund"]),
    ("workload: web\noutbound:\n  default: maybe\n", &["wrong.yaml:3", "outbound.default", "maybe"]),
    (
        "outbound:\n  rules:\n    - deny: 10.0.0.0/33\n",
        &["wrong.yaml:3", "outbound.rules[0].deny", "10.0.0.0/33"],
    ),
    ("relay: { idle-timeout: soon }\n", &["wrong.yaml:1", "relay.idle-timeout", "soon"]),
    ("outbound: [\n", &["wrong.yaml"]),
];

#[test]
fn every_command_refuses_a_wrong_file_with_78_and_its_line_and_field() {
    needs_capture!();
    let (pod, _other) = Pod::pair();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("wrong.yaml");
    let path = file.display().to_string();
    let commands: [&[&str]; 3] = [
        &["sidecar", "--config", &path],
        &["capture", "--to-port", "15001", "--config", &path],
        &["run", "--config", &path, "--", "true"],
    ];
    for command in commands {
        for (text, named) in WRONG {
            std::fs::write(&file, text).unwrap();
            refused(&pod, command, 78, named);
        }
        std::fs::remove_file(&file).unwrap();
        refused(&pod, command, 78, &["wrong.yaml", "No such file"]);
    }
    leftovers::none(&pod);
}

#[test]
fn flags_that_contradict_each_other_are_refused_with_78() {
    needs_capture!();
    let (pod, _other) = Pod::pair();
    refused(&pod, &["run", "--deny", "10.0.0.1", "--direct", "10.0.0.1", "--", "true"], 78, &["10.0.0.1"]);
    refused(&pod, &["run", "--deny", "nonsense", "--", "true"], 2, &["--deny", "nonsense"]);
    leftovers::none(&pod);
}

fn refused(pod: &Pod, command: &[&str], status: i32, named: &[&str]) -> Process {
    let process = pod.sidecar().start(sidestep::binary(), command);
    assert_eq!(process.end().code(), Some(status), "{command:?}: {}", process.stderr());
    let complaint = process.stderr();
    for word in named {
        assert!(complaint.contains(word), "{command:?}: {word:?} in: {complaint}");
    }
    process
}

/// Starts a sidecar that must end with 1 and a complaint, and leave nothing.
fn sidecar_fails(pod: &Pod, config: &Config, named: &[&str]) {
    let sidestep = Sidestep::start(pod, pod.sidecar(), &["sidecar"], config);
    assert_eq!(sidestep.process.ended().code(), Some(1), "{}", sidestep.process.stderr());
    let complaint = sidestep.process.stderr();
    for word in named {
        assert!(complaint.contains(word), "{word:?} in: {complaint}");
    }
    leftovers::none(pod);
}

#[test]
fn an_access_log_that_cannot_be_written_is_named_and_nothing_is_attached() {
    needs_capture!();
    let (pod, _other) = Pod::pair();
    let log = "/proc/no/such/access.log";
    refused(&pod, &["run", "--access-log", log, "--", "true"], 1, &[log, "access log"]);
    leftovers::none(&pod);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("sidestep.yaml");
    std::fs::write(&file, format!("access-log: {{ path: {log} }}\n")).unwrap();
    refused(&pod, &["sidecar", "--config", &file.display().to_string()], 1, &[log, "access log"]);
    leftovers::none(&pod);
}

#[test]
fn a_taken_admin_port_leaves_no_cgroup_of_run() {
    needs_capture!();
    let (pod, _other) = Pod::pair();
    let _squatter = crate::ask::echo(&pod, "squatter", "127.0.0.1:15021".parse().unwrap(), "");
    let config = Config::of(&pod);
    let run = Sidestep::start(&pod, pod.sidecar(), &["run"], &config);
    // Without a command it is wrong usage; with one it fails at the port.
    assert_eq!(run.process.ended().code(), Some(2));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("sidestep.yaml");
    std::fs::write(&file, "admin: { address: '127.0.0.1:15021' }\n").unwrap();
    refused(
        &pod,
        &["run", "--config", &file.display().to_string(), "--", "true"],
        1,
        &["127.0.0.1:15021", "admin.address"],
    );
    leftovers::none(&pod);
}

#[test]
fn a_cgroup_that_does_not_hold_the_instance_is_refused_with_a_remedy() {
    needs_capture!();
    let (pod, _other) = Pod::pair();
    let elsewhere = Cgroup::new();
    for wrong in [elsewhere.path(), pod.app_cgroup.path(), pod.sidecar_cgroup.path()] {
        let config = Config::of(&pod).with("capture", json!({ "mode": "ebpf", "cgroup": wrong }));
        sidecar_fails(&pod, &config, &["capture.cgroup", "below", &wrong.display().to_string()]);
    }
}

#[test]
fn a_foreign_proxy_outside_of_the_workload_is_refused_with_a_remedy() {
    needs_capture!();
    let (pod, _other) = Pod::pair();
    let elsewhere = Cgroup::new();
    let place = sidestep_tests::Place { cgroup: &elsewhere, ..pod.app() };
    let _proxy = crate::ask::listening(place.peer("original-dst --port 15001"));
    let arguments = ["capture", "--to-port", "15001"];
    let sidestep = Sidestep::start(&pod, pod.sidecar(), &arguments, &Config::of(&pod));
    assert_eq!(sidestep.process.ended().code(), Some(1));
    let complaint = sidestep.process.stderr();
    assert!(complaint.contains("capture.cgroup"), "{complaint}");
    leftovers::none(&pod);
}

#[test]
fn the_root_cgroup_is_never_taken_for_a_workload() {
    needs_capture!();
    let (pod, _other) = Pod::pair();
    let root = cgroup::mount().unwrap_or_default();
    // In this mode nothing could be attached even if the answer were another.
    let config = Config::of(&pod).with("capture", json!({ "mode": "none", "cgroup": root }));
    sidecar_fails(&pod, &config, &["capture.cgroup", "never attached to the root cgroup"]);
}

#[test]
fn a_cgroup_that_does_not_exist_is_named() {
    needs_capture!();
    let (pod, _other) = Pod::pair();
    let config =
        Config::of(&pod).with("capture", json!({ "mode": "ebpf", "cgroup": "/sys/fs/cgroup/none/such" }));
    sidecar_fails(&pod, &config, &["capture.cgroup", "/sys/fs/cgroup/none/such"]);
}
