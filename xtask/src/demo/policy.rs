//! What is claimed of a workload that has an `AuthorizationPolicy`: who is let in to what, what the kernel refuses by itself,
//! and how to ask why.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::claims::greeting;
use super::rules::RulesFile;
use super::scene::{CAPTURED, Logged, Scene, Stage, connect};
use super::story::Story;
use crate::lab::{Lab, NAMESPACE, Sidecar};
use crate::process::capture;

/// What may be asked for, and what may not.
const OPEN: &str = "/open";
const CLOSED: &str = "/closed";

/// What a refused request is answered with.
const REFUSED: (u16, &str) = (403, "RBAC: access denied");

/// The policy of the server: its client may `GET` what begins with [`OPEN`].
pub(super) fn written(lab: &Lab, scene: &Stage<'_>) -> Result<RulesFile> {
    let [client, _] = scene.members();
    let principal = client.identity().replace("spiffe://", "");
    let file = RulesFile::new(lab, "policies");
    file.say(&format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{ name: web, namespace: {} }}\nspec:\n  \
         action: ALLOW\n  rules:\n    - from:\n        - source: {{ principals: [{principal}] }}\n      to:\n        \
         - operation: {{ methods: [GET], paths: [{OPEN}*] }}\n",
        NAMESPACE,
    ))?;
    Ok(file)
}

/// A line about a request, as far as claims are made about it.
#[derive(Debug, Deserialize)]
struct Request {
    direction: String,
    method: String,
    path: String,
    status: u16,
    policy: Option<String>,
}

/// What the policy does to requests, and to somebody who is nobody.
pub(super) fn enforced(story: &mut Story, scene: &Scene<'_>, policy: &RulesFile) -> Result<()> {
    let Stage { client, server, third, .. } = scene.stage;
    let to = server.v4(CAPTURED);
    story.tell(&policy.text()?);
    story.claim(&format!("GET {OPEN} is answered by nginx"), greeting(client, to, OPEN));
    for (method, path) in [("GET", CLOSED), ("POST", OPEN), ("GET", "/open/../closed")] {
        let outcome = refused(scene, to, method, path);
        story.claim(
            &format!("{method} {path} is answered with {}, and nginx never hears of it", REFUSED.0),
            outcome,
        );
    }
    let line = logged(scene, CLOSED).map(|(text, _)| text);
    story.claim("the server's sidecar logs which policy refused it", line);
    let shut_out = connect(third, to, 1).and_then(|answer| {
        ensure!(answer.outcome == "ECONNREFUSED", "expected ECONNREFUSED, found {}", answer.outcome);
        Ok(String::new())
    });
    story.claim(
        &format!(
            "{}, which proves no identity, is refused by the kernel before a byte of it is read",
            third.name()
        ),
        shut_out,
    );
    let why =
        scene.logged(&scene.server_sidecar, ("inbound", "deny"), to).and_then(|Logged { text, line }| {
            ensure!(line.reason == "policy", "expected the reason policy, found {text}");
            Ok(text)
        });
    story.claim("its line says so too", why);
    let [member, _] = scene.stage.members();
    for (path, expected) in [(OPEN, "allow"), (CLOSED, "deny")] {
        let arguments =
            ["--from", &member.identity(), "--to", &to.to_string(), "--method", "GET", "--path", path];
        story.tell(&format!("$ sidestep explain --config sidestep.yaml {}", arguments.join(" ")));
        let outcome = scene.server_sidecar.explain(&arguments).and_then(|said| {
            ensure!(said.contains(expected), "expected {expected:?} in it, found {said}");
            Ok(said)
        });
        story.claim(&format!("asked why, it says {expected} and names the policy"), outcome);
    }
    Ok(())
}

/// A request that is refused.
fn refused(scene: &Scene<'_>, to: SocketAddr, method: &str, path: &str) -> Result<String> {
    let mut curl = scene.stage.client.app("curl");
    curl.args(["--silent", "--show-error", "--max-time", "5", "--noproxy", "*", "--path-as-is"]);
    curl.args(["--request", method, "--write-out", "\\n%{http_code}", &format!("http://{to}{path}")]);
    let printed = capture(&mut curl)?;
    let (body, status) = printed.rsplit_once('\n').context("curl printed no status")?;
    let found = (status.trim().parse::<u16>()?, body.trim());
    ensure!(found == REFUSED, "expected {REFUSED:?}, found {found:?}");
    Ok(String::new())
}

/// Waits for the line of a request in the log of the server's sidecar.
fn logged(scene: &Scene<'_>, path: &str) -> Result<(String, String)> {
    let find = |sidecar: &Sidecar| {
        sidecar.access_lines().into_iter().find_map(|text| {
            let request: Request = serde_json::from_str(&text).ok()?;
            let meant = request.direction == "inbound" && request.path == path && request.method == "GET";
            (meant && request.status == REFUSED.0).then_some((text, request.policy?))
        })
    };
    let what = format!("a line of the refused request for {path}");
    scene.stage.lab.patience().until(&what, || Ok(find(&scene.server_sidecar)))
}
