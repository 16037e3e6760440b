//! The two workloads of the demonstration: curl's pod and nginx's pod, each with a sidecar of its own.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use super::access::Line;
use super::nginx::Nginx;
use crate::bench::Part;
use crate::lab::peer::Answer;
use crate::lab::{Lab, Log, Pod, Sidecar, Wire};
use crate::process::capture;

/// Captured on its way out of the client's pod and into the server's.
pub(super) const CAPTURED: u16 = 8080;
/// Denied by a rule of the client's.
pub(super) const DENIED: u16 = 8081;
/// Left alone by a rule of the client's.
pub(super) const DIRECT: u16 = 8082;

/// How long a log line may take to appear.
const LOGGING: Duration = Duration::from_secs(5);

/// Both workloads, running.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    lab: &'a Lab,
    pub(super) client_sidecar: Sidecar,
    pub(super) server_sidecar: Sidecar,
    nginx: Nginx,
    pub(super) client: Rc<Pod>,
    pub(super) server: Rc<Pod>,
}

/// A line of an access log, as written and as read.
#[derive(Debug)]
pub(super) struct Logged {
    pub(super) text: String,
    pub(super) line: Line,
}

impl<'a> Scene<'a> {
    /// Makes the pods and starts everything in them.
    pub(super) fn set(lab: &'a Lab) -> Result<Self> {
        let (client, server) = Wire::join(lab, "")?;
        let rules = json!({ "outbound": { "rules": [
            { "deny": [server.v4(DENIED).to_string(), server.v6(DENIED).to_string()] },
            { "direct": [server.v4(DIRECT).to_string(), server.v6(DIRECT).to_string()] },
        ] } });
        let nginx = Nginx::start(lab, &server, &[CAPTURED, DENIED, DIRECT])?;
        let client_sidecar = Sidecar::start(lab, &client, &rules, Log::Kept)?;
        let server_sidecar = Sidecar::start(lab, &server, &json!({}), Log::Kept)?;
        let mut scene = Self { lab, client_sidecar, server_sidecar, nginx, client, server };
        scene.wait_for_nginx()?;
        Ok(scene)
    }

    /// From inside its own pod, where nothing is captured between it and us.
    fn wait_for_nginx(&mut self) -> Result<()> {
        self.lab.patience().until("nginx to listen", || {
            self.nginx.check()?;
            Ok(connect(&self.server, self.server.v4(CAPTURED), 1).ok().filter(is_connected))
        })?;
        Ok(())
    }

    /// Runs curl in the client's app cgroup.
    pub(super) fn curl(&self, to: SocketAddr, path: &str) -> Result<String> {
        let mut curl = self.client.app("curl");
        curl.args(["--silent", "--show-error", "--fail", "--max-time", "5", "--noproxy", "*"]);
        capture(curl.arg(format!("http://{to}{path}")))
    }

    /// Connects `count` times from the client's app cgroup.
    pub(super) fn connect(&self, to: SocketAddr, count: usize) -> Result<Answer> {
        connect(&self.client, to, count)
    }

    /// Waits for the line of a connection in a sidecar's access log.
    pub(super) fn logged(
        &self,
        sidecar: &Sidecar,
        (direction, verdict): (&str, &str),
        destination: SocketAddr,
    ) -> Result<Logged> {
        let what = format!("a line of the {direction} connection to {destination} with verdict {verdict}");
        self.lab
            .patience()
            .up_to(LOGGING)
            .until(&what, || Ok(find(sidecar, (direction, verdict), destination)))
            .with_context(|| format!("the access log has: {:?}", sidecar.access_lines()))
    }

    /// Waits for nginx's line about a path.
    pub(super) fn nginx_line(&self, path: &str) -> Result<String> {
        let what = format!("nginx's log line about {path}");
        self.lab.patience().up_to(LOGGING).until(&what, || Ok(self.nginx.line_about(path)))
    }
}

/// Whether somebody accepts connections at an address of a pod, asked from inside.
pub(super) fn is_connected(answer: &Answer) -> bool {
    answer.outcome == Answer::CONNECTED
}

/// Connects `count` times from the app cgroup of a pod.
pub(super) fn connect(pod: &Pod, to: SocketAddr, count: usize) -> Result<Answer> {
    Answer::of(&mut Part::Connect.client(pod, to, count, None))
}

/// The newest line of that kind.
pub(super) fn find(
    sidecar: &Sidecar,
    (direction, verdict): (&str, &str),
    destination: SocketAddr,
) -> Option<Logged> {
    sidecar.access_lines().into_iter().rev().find_map(|text| {
        let line = Line::read(&text)?;
        line.is(direction, verdict, destination).then_some(Logged { text, line })
    })
}
