//! What is told of requests to a real OpenTelemetry collector (rotel) and to a real Prometheus, and every query of the
//! dashboard run there.

mod dashboard;
mod spans;

use serde_json::{Value, json};
use sidestep_tests::mesh::identity;
use sidestep_tests::{Config, Mesh, Place, Pod, Process, Sidestep, eventually};

use super::server::{answer, eventually_succeeds};
use super::shipped;

/// Where both apps listen, and where one listens whose connections nobody looks into.
const PORT: u16 = 8080;
const OPAQUE: u16 = 8081;

/// Two workloads of a mesh. The app of the first is asked by the second's, which was asked by curl beside the first.
struct Scene {
    near: Pod,
    far: Pod,
    mesh: Mesh,
}

impl Scene {
    fn new() -> Self {
        let (near, far) = Pod::pair();
        Self { near, far, mesh: Mesh::new() }
    }

    /// Both sidecars, the first one's first, with these sections besides.
    fn sidecars(&self, near: &[(&str, Value)], far: &[(&str, Value)]) -> [Sidestep<'_>; 2] {
        let start = |pod, account, other, more: &[(&str, Value)]| {
            let config = Config::of(pod).with("http", json!({ "opaque-ports": [OPAQUE] }));
            let config = self.mesh.knows(self.mesh.member(config, account), &[other]);
            let config =
                more.iter().fold(config, |config, (name, section)| config.with(name, section.clone()));
            Sidestep::sidecar(pod, &config)
        };
        let far = start(&self.far, "far", ("near", &self.near), far);
        [start(&self.near, "near", ("far", &self.far), near), far]
    }

    /// The apps.
    fn apps(&self) -> [Process; 3] {
        let start = |pod: &Pod, port: u16, next: Option<&str>| {
            let mut command = pod.app().command("python3");
            command.arg("-B").arg(shipped("tests/telemetry/app.py"));
            command.arg(pod.v4(port).ip().to_string()).arg(port.to_string()).args(next);
            Process::start(command)
        };
        let leaf = format!("http://{}/leaf", self.near.v4(PORT));
        let apps = [
            start(&self.near, PORT, None),
            start(&self.far, PORT, Some(&leaf)),
            start(&self.far, OPAQUE, None),
        ];
        for (place, url) in [
            (self.near.app(), format!("http://{}/leaf", self.far.v4(PORT))),
            (self.near.app(), format!("http://{}/leaf", self.far.v4(OPAQUE))),
            (self.far.app(), leaf.clone()),
        ] {
            eventually_succeeds(place, "curl", &["-sf", "-o", "/dev/null", &url]);
        }
        apps
    }

    /// Asks the far app, with more arguments for curl.
    fn ask(&self, path: &str, more: &[&str]) -> String {
        let url = format!("http://{}{path}", self.far.v4(PORT));
        answer(self.near.app(), "curl", ["-s"].iter().chain(more).copied().chain([url.as_str()]))
    }
}
