//! `sidestep inject` as people use it: manifests in, manifests out, and an exit status.

use std::process::{Command, Output, Stdio};

use sidestep_tests::{Need, needs, sidestep};

use super::manifests::findings;

/// What a chart of somebody's might be rendered to.
const SHOP: &str = "\
# The shop.
apiVersion: v1
kind: Service
metadata: { name: web }   # stays as it is
spec: { ports: [{ port: 80 }] }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: web, namespace: shop }
spec:
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      serviceAccountName: web
      containers:
        - name: app
          image: nginx
          readinessProbe: { httpGet: { path: /healthz, port: 8080 } }
---
apiVersion: batch/v1
kind: CronJob
metadata: { name: report }
spec:
  schedule: '@daily'
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers: [{ name: app, image: report }]
---
apiVersion: v1
kind: Pod
metadata: { name: agent }
spec: { hostNetwork: true, containers: [{ name: app, image: agent }] }
";

fn inject(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(sidestep::binary());
    command.arg("inject").args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("run sidestep inject: {error}"));
    if let Some(mut stdin) = child.stdin.take() {
        // A command that refuses its arguments reads nothing.
        let _ = std::io::Write::write_all(&mut stdin, input.as_bytes());
    }
    child.wait_with_output().unwrap_or_else(|error| panic!("hear sidestep inject: {error}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_stream_of_manifests_is_injected_and_is_what_kubernetes_accepts() {
    needs!(Need::Sidestep, Need::KubernetesSchemas);
    let output = inject(&["-f", "-"], SHOP);
    let (injected, told) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{told}");
    assert_eq!(findings(&injected), Vec::<String>::new(), "{injected}");
    let (service, _) = SHOP.split_once("---").unwrap_or_default();
    assert!(injected.starts_with(service), "{injected}");
    assert!(injected.contains("spiffe://") || !injected.contains("identity:"), "{injected}");
    assert_eq!(injected.matches("restartPolicy: Always").count(), 2, "{injected}");
    for line in [
        "Deployment shop/web: injected",
        "CronJob default/report: injected",
        "Pod default/agent: left as it is: it has hostNetwork",
    ] {
        assert!(told.contains(line), "{told}");
    }
    let again = inject(&["-f", "-"], &injected);
    assert_eq!(text(&again.stdout), injected, "injecting twice is injecting once");
}

#[test]
fn a_pod_that_cannot_have_it_fails_the_command_and_the_rest_is_printed() {
    needs!(Need::Sidestep);
    let odd = "kind: Pod\nmetadata: {name: odd}\nspec: {containers: [{name: sidestep}]}\n";
    let output = inject(&["-f", "-"], &format!("{odd}---\n{SHOP}"));
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(
        told.contains("Pod default/odd: refused: ") && told.contains("container named sidestep"),
        "{told}"
    );
    let printed = text(&output.stdout);
    assert!(printed.starts_with(odd) && printed.contains("Deployment"), "{printed}");
}

#[test]
fn what_is_no_manifest_and_settings_that_are_none_are_errors_that_say_where() {
    needs!(Need::Sidestep);
    let output = inject(&["-f", "-"], &format!("{SHOP}---\nkind: [Pod\n"));
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("document after line"), "{}", text(&output.stderr));
    let directory = tempfile::tempdir().unwrap_or_else(|error| panic!("make a directory: {error}"));
    let file = directory.path().join("inject.yaml");
    for (settings, expected) in [
        ("picture: x\n", "inject.yaml:1:"),
        ("sidecar: { inbound: { ports: some } }\n", "inbound.ports"),
        ("identity: vault\n", "cert-manager"),
    ] {
        std::fs::write(&file, settings).unwrap_or_else(|error| panic!("write: {error}"));
        let output = inject(&["--config", &file.to_string_lossy(), "-f", "-"], SHOP);
        let told = text(&output.stderr);
        assert!(!output.status.success() && told.contains(expected), "{settings}: {told}");
        assert!(output.stdout.is_empty(), "nothing half");
    }
}
