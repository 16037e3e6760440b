//! Manifests of many kinds.

use serde_json::{Value, json};

use super::super::*;
use super::{check, settings};

fn inject_text(text: &str) -> Injected {
    inject(text, "default", &settings(), &check).expect("YAML")
}

fn read(text: &str) -> Value {
    serde_saphyr::from_str(text).expect("YAML")
}

#[test]
fn a_document_without_pods_stays_as_it_was_written() {
    for text in [
        "",
        "# only a comment\n",
        "--- # first\nkind: ConfigMap # of the app\ndata: { on: 'yes' }\n",
        "kind: Deployment\nspec: {}\n",
        "kind: Pod\nmetadata: {annotations: {sidestep.io/inject: 'false'}}\nspec: {containers: [{name: a}]}\n",
        "[1, 2]\n",
    ] {
        assert_eq!(inject_text(text).text, text);
    }
}

#[test]
fn every_kind_that_makes_pods_has_its_template_injected() {
    for (kind, path) in [
        ("Pod", ""),
        ("Deployment", "/spec/template"),
        ("StatefulSet", "/spec/template"),
        ("DaemonSet", "/spec/template"),
        ("ReplicaSet", "/spec/template"),
        ("Job", "/spec/template"),
        ("CronJob", "/spec/jobTemplate/spec/template"),
    ] {
        let pod =
            json!({ "metadata": { "labels": { "app": "a" } }, "spec": { "containers": [{ "name": "a" }] } });
        let object = match path {
            "" => {
                let mut object = pod;
                object["kind"] = json!(kind);
                object
            }
            "/spec/template" => {
                json!({ "kind": kind, "metadata": { "name": "a", "namespace": "shop" }, "spec": { "template": pod } })
            }
            _ => {
                json!({ "kind": kind, "metadata": { "name": "a" }, "spec": { "jobTemplate": { "spec": { "template": pod } } } })
            }
        };
        let injected = inject_text(&object.to_string());
        let now = read(&injected.text);
        let template = now.pointer(path).expect("a template");
        assert_eq!(template["metadata"]["annotations"][STATUS], INJECTED, "{kind}");
        assert_eq!(template["spec"]["initContainers"][0]["name"], CONTAINER, "{kind}");
        let namespace = if path == "/spec/template" { "shop" } else { "default" };
        let configuration = template["metadata"]["annotations"][CONFIGURATION].as_str().expect("a text");
        assert!(configuration.contains(&format!("/ns/{namespace}/sa/default")), "{configuration}");
        assert_eq!(injected.notes.len(), 1);
    }
}

#[test]
fn lists_are_gone_through_and_each_pod_is_told_of() {
    let list = json!({ "kind": "List", "items": [
        { "kind": "Service", "metadata": { "name": "web" } },
        { "kind": "Pod", "metadata": { "name": "web" }, "spec": { "containers": [{ "name": "a" }] } },
        { "kind": "Pod", "metadata": { "name": "host" }, "spec": { "containers": [{ "name": "a" }], "hostNetwork": true } },
        { "kind": "Pod", "metadata": { "name": "odd" }, "spec": {} },
    ] });
    let injected = inject_text(&list.to_string());
    let told: Vec<_> = injected.notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "Pod default/web: injected",
            "Pod default/host: left as it is: it has hostNetwork, and no network namespace of its own to capture in",
            "Pod default/odd: refused: expected a pod with spec.containers, found none",
        ]
    );
    assert!(injected.notes[2].is_refusal() && !injected.notes[1].is_refusal());
    assert_eq!(read(&injected.text)["items"][3], list["items"][3], "what is refused stays");
}

#[test]
fn words_mean_afterwards_what_they_meant_before() {
    let text = "kind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: a\n    args: ['yes', 'on', '0644', '1e3', '~', '1_000', \
                '0x1f', '12:30', 'null', '', ' a', 'a: b', '# c', \"a\\nb\\n\", '- x', '*a', '&a', '@', '2001-01-01']\n  \
                volumes:\n  - name: v\n    secret: {secretName: s, defaultMode: 0644}\n";
    let now = read(&inject_text(text).text);
    let args = now["spec"]["containers"][0]["args"].as_array().expect("a list");
    let words = [
        "yes",
        "on",
        "0644",
        "1e3",
        "~",
        "1_000",
        "0x1f",
        "12:30",
        "null",
        "",
        " a",
        "a: b",
        "# c",
        "a\nb\n",
        "- x",
        "*a",
        "&a",
        "@",
        "2001-01-01",
    ];
    assert_eq!(args, &words.map(|word| json!(word)));
    assert_eq!(now["spec"]["volumes"][0]["secret"]["defaultMode"], 420, "octal, as the API server reads it");
}

#[test]
fn what_is_no_yaml_is_an_error_with_its_place() {
    let error = inject("kind: Pod\nspec: [\n", "default", &settings(), &check).expect_err("no YAML");
    assert!(error.contains("line"), "{error}");
}
