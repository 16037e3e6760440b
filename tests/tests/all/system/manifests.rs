//! The chart and what is rendered from it: by Helm's own engine, against the OpenAPI schemas of Kubernetes, and against the
//! product, which has to read the configuration that it is given there.
//!
//! `deploy/kubernetes/` is the chart with its defaults. `SIDESTEP_BLESS=1` writes it anew.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::{Value, json};
use sidestep_tests::{Need, needs, sidestep};

use super::server::write;
use super::shipped;

/// The versions that the manifests are validated against: the first that the chart allows, and the last that is known.
const VERSIONS: [&str; 3] = ["1.30", "1.33", "1.37"];

/// What the chart makes of some values.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Rendered {
    /// By the path of the template.
    Files(BTreeMap<String, String>),
    Error(String),
}

impl Rendered {
    /// All documents in one, but for those of templates that made nothing.
    fn text(&self) -> String {
        let files = match self {
            Self::Files(files) => files,
            Self::Error(error) => panic!("{error}"),
        };
        let documents = files.values().map(|text| text.trim()).filter(|text| !text.is_empty());
        documents.map(|text| format!("---\n{text}\n")).collect()
    }
}

pub(super) fn python(script: &str, arguments: &[&str], input: &str) -> String {
    let packages = std::env::var_os("SIDESTEP_KUBERNETES").unwrap_or_default();
    let mut command = Command::new("python3");
    command.arg("-B").arg(shipped("tests/kubernetes").join(script)).args(arguments);
    command.env("PYTHONPATH", packages).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("run {script}: {error}"));
    if let Some(mut stdin) = child.stdin.take() {
        std::io::Write::write_all(&mut stdin, input.as_bytes())
            .unwrap_or_else(|error| panic!("tell {script}: {error}"));
    }
    let output = child.wait_with_output().unwrap_or_else(|error| panic!("hear {script}: {error}"));
    assert!(output.status.success(), "{script}: {}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The chart with these values, for each of them.
fn render(values: &[Value]) -> Vec<Rendered> {
    let wanted: Vec<_> = values.iter().map(|values| json!({ "values": values })).collect();
    let chart = shipped("deploy/helm/sidestep");
    let answer = python("chart.py", &[&chart.to_string_lossy()], &json!(wanted).to_string());
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

/// What is wrong with these manifests, one line each. Kinds without a schema are `unknown: ` lines.
pub(super) fn findings(manifests: &str) -> Vec<String> {
    let told = python("validate.py", &VERSIONS, manifests);
    let mut lines: Vec<String> = told.lines().map(str::to_owned).collect();
    let last = lines.pop().unwrap_or_default();
    let validated = last.strip_prefix("validated: ").and_then(|count| count.parse::<u32>().ok());
    assert!(validated.is_some_and(|count| count > 0), "nothing was validated: {told}");
    lines.sort();
    lines.dedup();
    lines
}

/// The files of `deploy/kubernetes/`, each with the values that make it.
fn shipped_files() -> [(&'static str, &'static str, Value); 3] {
    let cert_manager = json!({ "source": "cert-manager" });
    [
        (
            "node.yaml",
            "the agent on every node",
            json!({ "namespace": { "create": true }, "webhook": { "enabled": false } }),
        ),
        (
            "webhook.yaml",
            "the webhook that injects sidecars; its certificate comes from cert-manager",
            json!({ "node": { "enabled": false }, "webhook": { "tls": cert_manager } }),
        ),
        (
            "podmonitor.yaml",
            "the agents, for Prometheus' operator",
            json!({
                "node": { "enabled": false },
                "webhook": { "enabled": false },
                "podMonitor": { "enabled": true },
            }),
        ),
    ]
}

#[test]
fn the_plain_manifests_are_the_chart_with_its_defaults() {
    needs!(Need::KubernetesSchemas);
    let files = shipped_files();
    let rendered = render(&files.each_ref().map(|(_, _, values)| values.clone()));
    for ((name, what, _), rendered) in files.iter().zip(&rendered) {
        let text = format!(
            "# Sidestep: {what}. Rendered from deploy/helm/sidestep; deploy/kubernetes.md says how it is used.\n{}",
            rendered.text()
        );
        let file = shipped("deploy/kubernetes").join(name);
        if std::env::var("SIDESTEP_BLESS").as_deref() == Ok("1") {
            write(&file, &text);
        }
        let shipped = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            shipped == text,
            "{} is not what the chart makes; SIDESTEP_BLESS=1 writes it anew",
            file.display()
        );
    }
}

#[test]
fn whatever_the_values_the_schemas_of_kubernetes_accept_it() {
    needs!(Need::KubernetesSchemas);
    let pem = "-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n";
    let all = [
        json!({}),
        json!({ "namespace": { "create": true }, "podMonitor": { "enabled": true, "labels": { "team": "mesh" } } }),
        json!({
            "imagePullSecrets": [{ "name": "registry" }],
            "image": { "tag": "1.2.3" },
            "node": {
                "identity": { "secretName": "" },
                "cni": { "enabled": false },
                "seLinuxOptions": { "type": "spc_t" },
                "affinity": { "nodeAffinity": {} },
                "podAnnotations": { "a": "b" },
                "podLabels": { "c": "d" },
                "priorityClassName": "",
                "resources": {},
            },
            "webhook": {
                "tls": { "source": "secret", "secretName": "mine", "caBundle": pem },
                "tolerations": [{ "operator": "Exists" }],
                "podLabels": { "c": "d" },
            },
        }),
        json!({ "webhook": { "tls": { "source": "cert-manager" }, "sidecar": { "identity": "spire" } } }),
    ];
    for (values, rendered) in all.iter().zip(render(&all)) {
        let found = findings(&rendered.text());
        let known = [
            "unknown: cert-manager.io/v1 Certificate",
            "unknown: cert-manager.io/v1 Issuer",
            "unknown: monitoring.coreos.com/v1 PodMonitor",
        ];
        let wrong: Vec<_> = found.iter().filter(|line| !known.contains(&line.as_str())).collect();
        assert!(wrong.is_empty(), "{values}: {wrong:#?}");
    }
}

#[test]
fn a_field_that_kubernetes_does_not_know_would_be_found() {
    needs!(Need::KubernetesSchemas);
    let wrong = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  hostPid: true\n  containers: [{name: a, image: b}]\n";
    let found = findings(wrong);
    assert!(found.iter().any(|line| line.contains("hostPid")), "{found:?}");
}

#[test]
fn values_that_do_not_exist_or_cannot_be_are_refused() {
    needs!(Need::KubernetesSchemas);
    let all = [
        (json!({ "nodes": {} }), "nodes"),
        (json!({ "node": { "enrol": "some" } }), "enrol"),
        (json!({ "node": { "config": { "identity": {} } } }), "config"),
        (json!({ "webhook": { "tls": { "source": "secret" } } }), "secretName"),
        (json!({ "webhook": { "sidecar": { "picture": "x" } } }), "picture"),
        (json!({ "cgroupMount": "sys/fs/cgroup" }), "cgroupMount"),
    ];
    let values: Vec<_> = all.iter().map(|(values, _)| values.clone()).collect();
    for ((values, field), rendered) in all.iter().zip(render(&values)) {
        match rendered {
            Rendered::Error(error) => assert!(error.contains(field), "{values}: {error}"),
            Rendered::Files(_) => panic!("{values} was taken"),
        }
    }
}

#[test]
fn helm_finds_nothing_to_complain_about() {
    needs!(Need::KubernetesSchemas);
    let chart = shipped("deploy/helm/sidestep");
    let told = python("chart.py", &[&chart.to_string_lossy(), "--lint"], "");
    let report: Value = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"));
    assert_eq!(report["errors"], json!([]), "{report}");
}

#[test]
fn sidecars_are_made_with_the_settings_that_the_chart_writes() {
    needs!(Need::KubernetesSchemas, Need::Sidestep);
    let all = [
        json!({}),
        json!({ "webhook": { "sidecar": {
            "identity": { "secret": "web" },
            "startup-seconds": 5,
            "sidecar": { "outbound": { "default": "direct" } },
        } } }),
    ];
    let directory = tempfile::tempdir().unwrap_or_else(|error| panic!("make a directory: {error}"));
    for rendered in render(&all) {
        let Rendered::Files(files) = rendered else { panic!("rendered") };
        let configuration = data(&files["sidestep/templates/webhook/configmap.yaml"], "inject.yaml");
        let file = directory.path().join("inject.yaml");
        write(&file, &configuration);
        let pod = directory.path().join("pod.yaml");
        write(
            &pod,
            "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: app, image: nginx}]}\n",
        );
        let mut command = Command::new(sidestep::binary());
        command.arg("inject").arg("--config").arg(&file).arg("-f").arg(&pod);
        let output = command.output().unwrap_or_else(|error| panic!("run inject: {error}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(findings(&String::from_utf8_lossy(&output.stdout)), Vec::<String>::new());
    }
}

/// One file of a ConfigMap that is written as a block of text.
fn data(manifest: &str, name: &str) -> String {
    let (_, block) =
        manifest.split_once(&format!("  {name}: |\n")).unwrap_or_else(|| panic!("{name} in {manifest}"));
    let lines = block.lines().take_while(|line| line.is_empty() || line.starts_with("    "));
    lines.map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or_default())).collect()
}
