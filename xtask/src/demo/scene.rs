//! The demonstration's workloads: curl's pod and nginx's pod, a sidecar in each, and a third pod without one.

use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::access::Line;
use super::nginx::Nginx;
use crate::bench::Part;
use crate::lab::peer::Answer;
use crate::lab::{Lab, Log, Member, Pod, Sidecar, Wire};
use crate::process::capture;

/// Captured on its way out of the client's pod and into the server's.
pub(super) const CAPTURED: u16 = 8080;
/// Denied by a rule of the client's.
pub(super) const DENIED: u16 = 8081;
/// Left alone by a rule of the client's.
pub(super) const DIRECT: u16 = 8082;

/// How long a log line may take to appear.
const LOGGING: Duration = Duration::from_secs(5);

/// The pods, and nginx in one of them.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    pub(super) lab: &'a Lab,
    nginx: Nginx,
    pub(super) client: Rc<Pod>,
    pub(super) server: Rc<Pod>,
    pub(super) third: Rc<Pod>,
}

/// Sidecars on the stage.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) stage: &'a Stage<'a>,
    pub(super) client_sidecar: Sidecar,
    pub(super) server_sidecar: Sidecar,
}

/// A line of an access log, as written and as read.
#[derive(Debug)]
pub(super) struct Logged {
    pub(super) text: String,
    pub(super) line: Line,
}

impl<'a> Stage<'a> {
    /// Makes the pods and starts nginx.
    pub(super) fn set(lab: &'a Lab) -> Result<Self> {
        let (client, server) = Wire::join(lab, "")?;
        let third = Wire::third(lab, "third", &server)?;
        let nginx = Nginx::start(lab, &server, &[CAPTURED, DENIED, DIRECT])?;
        let mut stage = Self { lab, nginx, client, server, third };
        stage.wait_for_nginx()?;
        Ok(stage)
    }

    /// From inside its own pod, where nothing is captured between it and us.
    fn wait_for_nginx(&mut self) -> Result<()> {
        self.lab.patience().until("nginx to listen", || {
            self.nginx.check()?;
            Ok(connect(&self.server, self.server.v4(CAPTURED), 1).ok().filter(is_connected))
        })?;
        Ok(())
    }

    /// Waits for nginx's line about a path.
    pub(super) fn nginx_line(&self, path: &str) -> Result<String> {
        let what = format!("nginx's log line about {path}");
        self.lab.patience().up_to(LOGGING).until(&what, || Ok(self.nginx.line_about(path)))
    }

    /// Waits for the `traceparent` that nginx was sent with the request for a path.
    pub(super) fn nginx_parent(&self, path: &str) -> Result<String> {
        let what = format!("the traceparent of {path} in nginx's log");
        self.lab.patience().up_to(LOGGING).until(&what, || Ok(self.nginx.parent_of(path)))
    }

    /// The members of the mesh: the client and the server. The third pod is nobody.
    pub(super) fn members(&self) -> [Member; 2] {
        [Member::of("client", &self.client), Member::of("server", &self.server)]
    }
}

impl<'a> Scene<'a> {
    /// Two sidecars that know nobody.
    pub(super) fn of_strangers(stage: &'a Stage<'a>) -> Result<Self> {
        let server = &stage.server;
        let rules = json!({ "outbound": { "rules": [
            { "deny": [server.v4(DENIED).to_string(), server.v6(DENIED).to_string()] },
            { "direct": [server.v4(DIRECT).to_string(), server.v6(DIRECT).to_string()] },
        ] } });
        Self::set(stage, &rules, &json!({}))
    }

    /// Two sidecars that know each other, with certificates of the authority in one directory, and with a file that says
    /// whom the server talks to.
    pub(super) fn of_acquaintances(stage: &'a Stage<'a>, authority: &Path, policy: &Path) -> Result<Self> {
        let members = stage.members();
        let [client, mut server] = members.each_ref().map(|member| member.sections(authority, &members));
        server["policies"] = json!([policy]);
        Self::set(stage, &client, &server)
    }

    /// Two sidecars that know each other and look at HTTP.
    pub(super) fn of_observers(stage: &'a Stage<'a>, authority: &Path) -> Result<Self> {
        let members = stage.members();
        let [client, server] = members.each_ref().map(|member| {
            let mut sections = member.sections(authority, &members);
            sections["http"] = json!({});
            // Nobody listens there: what a collector would be told is in the access logs too.
            sections["tracing"] = json!({ "endpoint": "http://127.0.0.1:4317", "sampling": 1.0 });
            sections
        });
        Self::set(stage, &client, &server)
    }

    /// Two sidecars that know each other, with a file that says who may do what to the server.
    pub(super) fn of_guarded(stage: &'a Stage<'a>, authority: &Path, policies: &Path) -> Result<Self> {
        let members = stage.members();
        let [client, mut server] = members.each_ref().map(|member| member.sections(authority, &members));
        server["policies"] = json!([policies]);
        Self::set(stage, &client, &server)
    }

    fn set(stage: &'a Stage<'a>, client: &Value, server: &Value) -> Result<Self> {
        let client_sidecar = Sidecar::start(stage.lab, &stage.client, client, Log::Kept)?;
        let server_sidecar = Sidecar::start(stage.lab, &stage.server, server, Log::Kept)?;
        Ok(Self { stage, client_sidecar, server_sidecar })
    }

    /// Waits for the line of a connection in a sidecar's access log.
    pub(super) fn logged(
        &self,
        sidecar: &Sidecar,
        (direction, verdict): (&str, &str),
        destination: SocketAddr,
    ) -> Result<Logged> {
        let what = format!("a line of the {direction} connection to {destination} with verdict {verdict}");
        self.stage
            .lab
            .patience()
            .up_to(LOGGING)
            .until(&what, || Ok(find(sidecar, (direction, verdict), destination)))
            .with_context(|| format!("the access log has: {:?}", sidecar.access_lines()))
    }
}

/// Runs curl in a pod's app cgroup.
pub(super) fn curl(pod: &Pod, to: SocketAddr, path: &str) -> Result<String> {
    let mut curl = pod.app("curl");
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "5", "--noproxy", "*"]);
    capture(curl.arg(format!("http://{to}{path}")))
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
