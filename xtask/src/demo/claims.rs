//! What the demonstration claims, each with the evidence that is shown for it.

use std::net::SocketAddr;

use anyhow::{Result, bail, ensure};

use super::nginx::GREETING;
use super::programs;
use super::scene::{CAPTURED, DENIED, DIRECT, Scene, Stage, connect, curl, find, is_connected};
use super::story::Story;
use crate::lab::Pod;
use crate::process::{capture, find_program};

/// How many denied connects are timed.
const DENIALS: usize = 100;
/// "At once": far less than any answer from another machine would take, with room for a busy one.
const AT_ONCE_NS: u64 = 1_000_000;

/// One request, told by all who saw it.
pub(super) fn request(
    story: &mut Story,
    scene: &Scene<'_>,
    (from, to): (SocketAddr, SocketAddr),
    path: &str,
) {
    story.tell(&format!("$ curl http://{to}{path}"));
    story.claim("curl gets nginx's answer", greeting(&scene.stage.client, to, path));
    let outbound = scene.logged(&scene.client_sidecar, ("outbound", "proxy"), to);
    let inbound = scene.logged(&scene.server_sidecar, ("inbound", "proxy"), to);
    let same = match (&outbound, &inbound) {
        (Ok(out), Ok(inn)) if out.line.bytes_sent > 0 => {
            let bytes = |line: &super::access::Line| (line.bytes_sent, line.bytes_received);
            let (there, back) = bytes(&out.line);
            match bytes(&inn.line) == (there, back) {
                true => Ok(format!("{there} bytes there and {back} bytes back, by both accounts")),
                false => Err(anyhow::anyhow!("the two sidecars count differently")),
            }
        }
        _ => Err(anyhow::anyhow!("there are not two lines with bytes to compare")),
    };
    for (whose, logged) in
        [("client's sidecar logs it as outbound", outbound), ("server's as inbound", inbound)]
    {
        let outcome = logged.and_then(|logged| {
            ensure!(
                logged.line.is_from(from.ip()),
                "expected the source {}, found {}",
                from.ip(),
                logged.text
            );
            Ok(logged.text)
        });
        story.claim(&format!("the {whose}, from {} to {to}", from.ip()), outcome);
    }
    story.claim("it is the same request to both", same);
    let seen = scene.stage.nginx_line(path).and_then(|line| {
        let expected = format!("{} -> {to} ", from.ip());
        // nginx writes IPv6 addresses with ports without brackets.
        let bare = expected.replace(['[', ']'], "");
        ensure!(line.replace(['[', ']'], "").starts_with(&bare), "expected {expected:?}…, found {line:?}");
        Ok(line)
    });
    story.claim(&format!("nginx sees the real client, {}, and no proxy", from.ip()), seen);
}

/// nginx's answer to a request from a pod.
pub(super) fn greeting(from: &Pod, to: SocketAddr, path: &str) -> Result<String> {
    let body = curl(from, to, path)?;
    ensure!(body.trim() == GREETING, "expected {GREETING:?}, found {body:?}");
    Ok(body)
}

/// No rule of any firewall in a pod.
pub(super) fn no_rules(story: &mut Story, pod: &Pod) {
    for (program, arguments) in
        [("iptables-save", [].as_slice()), ("ip6tables-save", &[]), ("nft", &["list", "ruleset"])]
    {
        if find_program(program).is_none() {
            story.tell(&format!("– {program} is not on this machine"));
            continue;
        }
        let mut command = pod.app(program);
        command.args(arguments);
        let typed = [&[program], arguments].concat().join(" ");
        let outcome = capture(&mut command).and_then(|said| {
            let rules: Vec<&str> = said.lines().filter(|line| !line.starts_with('#')).collect();
            ensure!(rules.iter().all(|line| line.trim().is_empty()), "expected nothing, found {rules:?}");
            Ok(String::new())
        });
        story.claim(&format!("`{typed}` in {} says nothing", pod.name()), outcome);
    }
}

/// A connect that a rule refuses.
pub(super) fn denied(story: &mut Story, scene: &Scene<'_>) {
    let Stage { client, server, .. } = scene.stage;
    for to in [server.v4(DENIED), server.v6(DENIED)] {
        let outcome = connect(client, to, DENIALS).and_then(|answer| {
            ensure!(answer.outcome == "ECONNREFUSED", "expected ECONNREFUSED, found {}", answer.outcome);
            let p50 = answer.whole.quantile(0.5);
            ensure!(p50 < AT_ONCE_NS, "expected it at once, it took {} µs", p50 / 1000);
            Ok(format!("ECONNREFUSED after {:.1} µs (median of {DENIALS})", p50 as f64 / 1e3))
        });
        story.claim(&format!("connect to {to} fails at once"), outcome);
    }
    let to = server.v4(DENIED);
    let listening = connect(server, to, 1).and_then(|answer| {
        ensure!(is_connected(&answer), "expected nginx at {to}, found {}", answer.outcome);
        Ok(String::new())
    });
    story.claim("though nginx listens there, as its own pod can tell", listening);
    let line = scene.logged(&scene.client_sidecar, ("outbound", "deny"), to).map(|logged| logged.text);
    story.claim("the access log says who refused it and why", line);
}

/// A connection that the kernel leaves alone.
pub(super) fn direct(story: &mut Story, scene: &Scene<'_>) {
    let (to, path) = (scene.stage.server.v4(DIRECT), "/direct");
    let counted = || scene.client_sidecar.verdicts("outbound", "direct");
    let before = counted();
    story.tell(&format!("$ curl http://{to}{path}"));
    story.claim("curl gets nginx's answer", greeting(&scene.stage.client, to, path));
    let passed = before.and_then(|before| {
        let after = counted()?;
        ensure!(after == before + 1, "expected one more direct verdict than {before}, found {after}");
        if let Some(logged) = find(&scene.client_sidecar, ("outbound", "proxy"), to) {
            bail!("expected no line of a relayed connection, found {}", logged.text);
        }
        Ok("one more `direct` in its metrics, no line in its access log".to_owned())
    });
    story.claim("the kernel counted it and the client's sidecar never saw it", passed);
}

/// The port that is captured, at both addresses of the server, with the client's address of the same family.
pub(super) fn ways(stage: &Stage<'_>) -> [(SocketAddr, SocketAddr); 2] {
    let Stage { client, server, .. } = stage;
    [(client.v4(0), server.v4(CAPTURED)), (client.v6(0), server.v6(CAPTURED))]
}

/// Both sidecars end as they should, and nothing of them stays.
pub(super) fn stopped(story: &mut Story, scene: Scene<'_>) {
    let Scene { stage, client_sidecar, server_sidecar } = scene;
    for (whose, sidecar) in [("client", client_sidecar), ("server", server_sidecar)] {
        story.claim(
            &format!("the {whose}'s sidecar drains and exits with 0 after SIGTERM"),
            sidecar.stop().map(|()| String::new()),
        );
    }
    if programs::is_bpftool_here() {
        let outcome = programs::on(stage.client.cgroup()).and_then(|left| {
            ensure!(left.is_empty(), "still there: {}", left.join(", "));
            Ok(String::new())
        });
        story.claim("no program is left on the client's cgroup", outcome);
    }
}
