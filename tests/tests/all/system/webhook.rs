//! `sidestep webhook` as an API server asks it: over TLS, by the name of its service, with a certificate that is replaced while
//! it runs.

use std::net::SocketAddr;
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sidestep_tests::{Hosts, Need, Place, Pod, Process, eventually, needs, sidestep};

use super::server::answer;

const AT: &str = "127.0.0.1:8443";
const NAME: &str = "sidestep-webhook.sidestep-system.svc";
const NEW_NAME: &str = "sidestep-webhook.elsewhere.svc";

/// A webhook in a network of its own.
struct Scene {
    pod: Pod,
    hosts: Hosts,
    tls: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let hosts = Hosts::new();
        let tls = hosts.issue(&[NAME]);
        let pod = Pod::alone();
        pod.namespace.ip(&["link", "set", "lo", "up"]);
        Self { pod, hosts, tls }
    }

    fn place(&self) -> Place<'_> {
        self.pod.app()
    }

    fn webhook(&self) -> Process {
        let mut command = self.place().command(sidestep::binary());
        command.args(["webhook", "--listen", AT, "--tls"]).arg(self.tls.path());
        let webhook = Process::start(command);
        eventually("the webhook is ready", || {
            if let Some(status) = webhook.status() {
                panic!("it ended with {status}: {}", webhook.stderr());
            }
            let (status, body) = self.ask(NAME, "/readyz", &[]);
            if status == "200" { Ok(()) } else { Err((status, body)) }
        });
        webhook
    }

    /// Asks by a name of the service, whose certificate is verified: status and body.
    fn ask(&self, name: &str, path: &str, more: &[&str]) -> (String, String) {
        let at: SocketAddr = AT.parse().unwrap_or_else(|error| panic!("{error}"));
        let mut curl = self.place().command("curl");
        curl.args(["-sS", "--max-time", "10", "--noproxy", "*", "--write-out", "\n%{http_code}"]);
        curl.arg("--cacert").arg(self.hosts.bundle());
        curl.args(["--resolve", &format!("{name}:{}:{}", at.port(), at.ip())]);
        curl.args(more).arg(format!("https://{name}:{}{path}", at.port()));
        let output = curl.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("run curl: {error}"));
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = printed.rsplit_once('\n').unwrap_or_default();
        (status.to_owned(), format!("{body}{}", String::from_utf8_lossy(&output.stderr)))
    }

    /// What becomes of a pod, as the API server is told.
    fn review(&self, spec: &Value) -> Value {
        let question = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "0d3c", "namespace": "shop", "operation": "CREATE",
                "kind": { "group": "", "version": "v1", "kind": "Pod" },
                "resource": { "group": "", "version": "v1", "resource": "pods" },
                "userInfo": {},
                "object": {
                    "apiVersion": "v1", "kind": "Pod", "metadata": { "generateName": "web-" }, "spec": spec,
                },
            },
        });
        let question = question.to_string();
        let (status, body) =
            self.ask(NAME, "/inject", &["-H", "Content-Type: application/json", "--data-binary", &question]);
        assert_eq!(status, "200", "{body}");
        let review: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{body}: {error}"));
        assert_eq!(review["response"]["uid"], "0d3c", "{review}");
        review["response"].clone()
    }
}

#[test]
fn pods_get_a_sidecar_from_the_webhook_and_what_is_no_question_is_refused() {
    needs!(Need::Root, Need::Tool("ip"), Need::Tool("curl"), Need::Tool("base64"));
    let scene = Scene::new();
    let webhook = scene.webhook();
    let told = scene.review(&json!({ "containers": [{ "name": "app", "image": "app" }] }));
    assert_eq!((&told["allowed"], &told["patchType"]), (&json!(true), &json!("JSONPatch")), "{told}");
    let patch = told["patch"].as_str().unwrap_or_else(|| panic!("no patch in {told}"));
    let patch = answer(scene.place(), "sh", ["-c", &format!("echo {patch} | base64 -d")]);
    let patch: Value = serde_json::from_str(&patch).unwrap_or_else(|error| panic!("{patch}: {error}"));
    let sidecar = "\"restartPolicy\":\"Always\"";
    assert!(patch.to_string().contains(sidecar) && patch.to_string().contains("\"sidestep\""), "{patch}");

    let told =
        scene.review(&json!({ "hostNetwork": true, "containers": [{ "name": "app", "image": "app" }] }));
    assert_eq!((&told["allowed"], &told["patch"]), (&json!(true), &Value::Null), "{told}");
    assert!(told["warnings"].to_string().contains("hostNetwork"), "{told}");

    let nonsense = ["-H", "Content-Type: application/json", "--data-binary", "{\"kind\":7"];
    assert_eq!(scene.ask(NAME, "/inject", &nonsense).0, "400");
    assert!(webhook.stop(Signal::SIGTERM).success(), "{}", webhook.stderr());
}

#[test]
fn a_certificate_of_the_webhook_that_is_replaced_is_presented_without_a_restart() {
    needs!(Need::Root, Need::Tool("ip"), Need::Tool("curl"));
    let scene = Scene::new();
    let _webhook = scene.webhook();
    assert_eq!(scene.ask(NEW_NAME, "/readyz", &[]).0, "000", "the certificate is of another name");
    scene.hosts.issue_into(scene.tls.path(), &[NEW_NAME]);
    eventually("the new certificate is presented", || {
        let (status, body) = scene.ask(NEW_NAME, "/readyz", &[]);
        if status == "200" { Ok(()) } else { Err((status, body)) }
    });
}
