//! The plugin's words, without an agent.

use super::*;

const POD: [(&str, &str); 4] = [
    ("CNI_CONTAINERID", "3b1f"),
    ("CNI_IFNAME", "eth0"),
    ("CNI_NETNS", "/proc/self/ns/net"),
    ("CNI_ARGS", "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web"),
];

fn call(verb: &str, changed: &[(&str, &str)], network: &Value) -> Said {
    let read = |name: &str| {
        let changed = changed.iter().find(|(key, _)| *key == name);
        let variable = changed.or_else(|| POD.iter().find(|(key, _)| *key == name));
        if name == "CNI_COMMAND" {
            Some(verb.to_owned())
        } else {
            variable.map(|(_, value)| (*value).to_owned())
        }
    };
    run(&read, &mut network.to_string().as_bytes())
}

/// A network whose agent is not there.
fn network(more: Value) -> Value {
    let mut network = json!({
        "cniVersion": "1.1.0", "name": "pods", "type": PLUGIN, "agent-socket": "/nowhere/agent.sock",
        "prevResult": { "cniVersion": "1.1.0", "ips": [{ "address": "10.0.0.7/24" }], "dns": {}, "unknown": [1] },
    });
    if let (Some(network), Value::Object(more)) = (network.as_object_mut(), more) {
        network.extend(more);
    }
    network
}

fn code(said: &Said) -> u64 {
    assert!(said.failed, "{said:?}");
    said.out.as_ref().and_then(|out| out["code"].as_u64()).unwrap_or_default()
}

#[test]
fn its_versions_are_told_without_a_network() {
    let said = run(&|_| Some("VERSION".to_owned()), &mut &b""[..]);
    assert!(!said.failed);
    let out = said.out.expect("told");
    assert_eq!(out["supportedVersions"], json!(["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]));
}

#[test]
fn without_an_agent_a_pod_does_not_start_and_is_told_why() {
    let said = call("ADD", &[], &network(json!({})));
    assert_eq!(code(&said), 11);
    let out = said.out.expect("told");
    assert_eq!(out["cniVersion"], "1.1.0");
    let message = out["msg"].as_str().unwrap_or_default();
    assert!(message.contains("/nowhere/agent.sock") && message.contains("DaemonSet"), "{message}");
}

#[test]
fn without_an_agent_a_pod_starts_where_that_is_wanted() {
    let network = network(json!({ "on-failure": "open" }));
    let said = call("ADD", &[], &network);
    assert!(!said.failed, "{said:?}");
    assert_eq!(said.out.as_ref(), Some(&network["prevResult"]));
    assert!(said.notes[0].contains("shop/web starts without capture"), "{:?}", said.notes);
}

#[test]
fn without_an_agent_a_pod_ends_and_garbage_is_collected() {
    for (verb, more) in [("DEL", json!({})), ("GC", json!({ "cni.dev/valid-attachments": [] }))] {
        let said = call(verb, &[], &network(more));
        assert!(!said.failed && said.out.is_none(), "{said:?}");
        assert!(said.notes[0].contains("not there"), "{:?}", said.notes);
    }
    // Nothing is known of a pod whose sandbox never came to be.
    let said = call("DEL", &[("CNI_NETNS", ""), ("CNI_ARGS", "")], &network(json!({ "prevResult": null })));
    assert!(!said.failed, "{said:?}");
}

#[test]
fn without_an_agent_the_node_takes_no_pods() {
    assert_eq!(code(&call("STATUS", &[], &network(json!({})))), 50);
    assert!(!call("STATUS", &[], &network(json!({ "on-failure": "open" }))).failed);
}

#[test]
fn what_is_no_pod_of_kubernetes_passes() {
    let network = network(json!({}));
    let said = call("ADD", &[("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAME=web")], &network);
    assert!(!said.failed, "{said:?}");
    assert_eq!(said.out.as_ref(), Some(&network["prevResult"]));
}

#[test]
fn what_cannot_be_done_has_a_code() {
    let fine = network(json!({}));
    for (verb, changed, network, expected) in [
        ("JUMP", &[][..], &fine, 4),
        ("ADD", &[("CNI_CONTAINERID", "")][..], &fine, 4),
        ("ADD", &[("CNI_NETNS", "")][..], &fine, 4),
        ("ADD", &[("CNI_NETNS", "/nowhere")][..], &fine, 3),
        ("ADD", &[][..], &network(json!({ "prevResult": null })), 7),
        ("ADD", &[][..], &network(json!({ "cniVersion": "0.2.0" })), 1),
        ("ADD", &[][..], &json!("?"), 6),
        ("CHECK", &[][..], &network(json!({ "cniVersion": "0.3.1" })), 1),
        ("CHECK", &[][..], &fine, 11),
        ("GC", &[][..], &fine, 7),
        ("GC", &[][..], &network(json!({ "cniVersion": "1.0.0" })), 1),
        ("STATUS", &[][..], &network(json!({ "cniVersion": "1.0.0" })), 1),
    ] {
        assert_eq!(code(&call(verb, changed, network)), expected, "{verb} {changed:?} {network}");
    }
}
