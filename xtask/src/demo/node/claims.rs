//! What is claimed of two pods of one node, each with the evidence that is shown for it.

use std::thread;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::json;
use sidestep_tests::access::Access;
use sidestep_tests::mesh::{NAMESPACE, identity};
use sidestep_tests::node::Agent;
use sidestep_tests::{eventually, leftovers};

use super::scene::{GREETING, Running, Scene};
use crate::demo::story::{Story, observed};

/// What is asked for where the wire is looked at.
pub(super) const SHOWN: &str = "/secret";
/// What the policy lets in, and what it does not.
const OPEN: &str = "/open";
const CLOSED: &str = "/closed";
/// The trace that wget says it is a part of, and its span: the example of W3C Trace Context, section 3.2.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";
/// The plugin's name.
const PLUGIN: &str = "sidestep-cni";

/// That the agent has put its plugin where the runtime finds it.
pub(super) fn plugin_installed(scene: &Scene) -> Result<String> {
    let names = observed(|| {
        eventually("the plugin is in the network", || {
            let names = plugins(scene).unwrap_or_default();
            if names.last().is_some_and(|name| name == PLUGIN) { Ok(names) } else { Err(names) }
        })
    })?;
    ensure!(scene.node.bin().join(PLUGIN).exists(), "expected {PLUGIN} in {}", scene.node.bin().display());
    Ok(names.join(", then "))
}

/// The plugins of the network, in order.
fn plugins(scene: &Scene) -> Result<Vec<String>> {
    let network = scene.network()?;
    let plugins = network["plugins"].as_array().context("a network has plugins")?;
    Ok(plugins.iter().filter_map(|plugin| plugin["type"].as_str().map(str::to_owned)).collect())
}

/// That a pod is enrolled, by its pins and by its object.
pub(super) fn captured(scene: &Scene, pod: &Running) -> Result<String> {
    observed(|| {
        eventually("the object says so", || {
            let object = scene.node.api.get("Pod", NAMESPACE, &pod.name).unwrap_or_default();
            let said = object["metadata"]["annotations"]["sidestep.io/status"].clone();
            if said == "enrolled" { Ok(()) } else { Err(said) }
        });
    })?;
    let pins = pins(pod);
    ensure!(pins.len() == 1, "expected one directory of pins, found {pins:?}");
    Ok(format!("sidestep.io/status: enrolled; {}", pins.join(", ")))
}

fn pins(pod: &Running) -> Vec<String> {
    leftovers::pins(&format!("{NAMESPACE}_{}", pod.name))
}

/// One request, told by all who saw it.
pub(super) fn request(story: &mut Story, scene: &Scene, agent: &Agent<'_>, web: &Running, db: &Running) {
    let line =
        format!("wget -q -O - --header 'traceparent: 00-{TRACE}-{SPAN}-01' http://{}{SHOWN}", db.app());
    story.tell(&format!("$ podman exec web-app {line}"));
    let answered = scene.inside(web, &line).and_then(|said| {
        ensure!(said.trim() == GREETING, "expected {GREETING:?}, found {said:?}");
        Ok(said)
    });
    story.claim("wget gets nginx's answer", answered);
    let told =
        observed(|| [(web, "outbound"), (db, "inbound")].map(|(pod, way)| logged(agent, pod, way, SHOWN)));
    match told {
        Ok([out, inn]) => {
            story.claim("both sides log it with both identities", named(&out).and(named(&inn)));
            story.claim("as one trace: wget, within it web's span, within it db's", tree(&out, &inn));
            story.claim(
                "nginx was told of db's span and of the real client",
                told_nginx(scene, web, db, &inn),
            );
        }
        Err(error) => story.claim("both sides log it", Err(error)),
    }
}

/// Waits for the line of a request.
fn logged(agent: &Agent<'_>, pod: &Running, direction: &str, path: &str) -> Access {
    let workload = pod.workload();
    agent.log.expect(&format!("the {direction} request of {workload} for {path}"), |line| {
        line.workload == workload
            && line.direction == direction
            && line.more.get("path") == Some(&json!(path))
    })
}

fn named(line: &Access) -> Result<String> {
    for (whose, found, expected) in [
        ("source", &line.source_principal, identity("web")),
        ("destination", &line.destination_principal, identity("db")),
    ] {
        ensure!(found.as_ref() == Some(&expected), "expected the {whose} {expected}, found {line:?}");
    }
    Ok(format!("{} -> {}", identity("web"), identity("db")))
}

/// Draws the trace.
fn tree(out: &Access, inn: &Access) -> Result<String> {
    let word =
        |line: &Access, key: &str| line.more.get(key).and_then(|it| it.as_str()).unwrap_or("?").to_owned();
    let mut parent = SPAN.to_owned();
    let mut drawn = vec![format!("trace {TRACE}"), format!("└─ wget             span {parent}")];
    for (line, who) in [(out, "   └─ web outbound"), (inn, "      └─ db inbound")] {
        ensure!(line.trace_id.as_deref() == Some(TRACE), "expected the trace {TRACE}, found {line:?}");
        let found = word(line, "parent_span_id");
        ensure!(found == parent, "expected the parent {parent}, found {line:?}");
        parent = word(line, "span_id");
        drawn.push(format!("{who:<20}span {parent}"));
    }
    Ok(drawn.join("\n"))
}

fn told_nginx(scene: &Scene, web: &Running, db: &Running, inn: &Access) -> Result<String> {
    let span = inn.more.get("span_id").and_then(|it| it.as_str()).context("the line has no span")?;
    let expected = format!("{SHOWN} {} 00-{TRACE}-{span}-01", web.address);
    let printed = scene.printed(db)?;
    ensure!(printed.contains(&expected), "expected {expected:?}, found {printed:?}");
    Ok(expected)
}

/// What a policy of the cluster does, as soon as it is there.
pub(super) fn policy_enforced(
    story: &mut Story,
    scene: &Scene,
    agent: &Agent<'_>,
    web: &Running,
    db: &Running,
) {
    let principal = identity("web").replace("spiffe://", "");
    let policy = json!({
        "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": { "namespace": NAMESPACE, "name": "db" },
        "spec": {
            "selector": { "matchLabels": { "app": "db" } }, "action": "ALLOW",
            "rules": [{
                "from": [{ "source": { "principals": [principal] } }],
                "to": [{ "operation": { "methods": ["GET"], "paths": [format!("{OPEN}*")] } }],
            }],
        },
    });
    story.tell(&policy["spec"].to_string());
    scene.node.api.put(policy);
    let ask = |path: &str| scene.inside(web, &format!("wget -O - http://{}{path} 2>&1 || true", db.app()));
    let refused = observed(|| {
        eventually("what it does not allow is refused", || {
            let said = ask(CLOSED).unwrap_or_else(|error| format!("{error:#}"));
            if said.contains("403 Forbidden") { Ok(()) } else { Err(said) }
        });
        String::new()
    });
    story.claim(&format!("GET {CLOSED} is answered with 403"), refused);
    let line = observed(|| {
        let refused = agent.log.expect("the refused request", |line| {
            line.workload == db.workload() && line.more.get("status") == Some(&json!(403))
        });
        format!(
            "{} {}: policy {}",
            refused.workload,
            refused.direction,
            refused.more.get("policy").unwrap_or(&json!(null))
        )
    });
    story.claim("and db's log says so: no rule lets it in", line);
    let answered = ask(OPEN).and_then(|said| {
        ensure!(said.contains(GREETING), "expected {GREETING:?}, found {said:?}");
        Ok(String::new())
    });
    story.claim(&format!("GET {OPEN} is answered by nginx"), answered);
    scene.node.api.delete("AuthorizationPolicy", NAMESPACE, "db");
}

/// Has a second agent take over from the first while requests go on, and hands it on.
pub(super) fn replaced<'scene>(
    story: &mut Story,
    scene: &'scene Scene,
    old: Agent<'scene>,
    web: &Running,
    db: &Running,
) -> Result<Agent<'scene>> {
    let asking = format!(
        "n=0; rm -f /tmp/stop; while [ ! -e /tmp/stop ]; do wget -q -O /dev/null http://{}/ || echo failed; n=$((n+1)); \
         done; echo $n",
        db.app()
    );
    let (agent, asked) = thread::scope(|scope| -> Result<_> {
        let asked = scope.spawn(|| scene.inside(web, &asking));
        let agent = observed(|| {
            let agent = scene.successor();
            for pod in [web, db] {
                agent.serves(&pod.name);
            }
            let status = old.process.stop(Signal::SIGTERM);
            assert!(status.success(), "{status}: {}", old.process.stderr());
            agent
        });
        // Whatever became of it: the requests must end.
        scene.inside(web, "sleep 1; touch /tmp/stop")?;
        let asked = asked.join().map_err(|_| anyhow::anyhow!("the asking thread has gone"))?;
        Ok((agent?, asked))
    })?;
    drop(old);
    story.claim("the new agent serves both pods, and the old one ends", Ok(String::new()));
    let outcome = asked.and_then(|said| {
        let failed = said.lines().filter(|line| *line == "failed").count();
        ensure!(failed == 0, "{failed} of {} requests failed", said.lines().last().unwrap_or("?"));
        Ok(format!("{} requests", said.trim()))
    });
    story.claim("no request failed on the way", outcome);
    let carried = observed(|| {
        let line = agent.log.expect("a request", |line| line.workload == web.workload());
        format!("{} {} {}", line.time, line.workload, line.tier)
    });
    story.claim("the new agent's log has what came last", carried);
    Ok(agent)
}

/// That nothing of the agent is where the runtime looks.
pub(super) fn uninstalled(scene: &Scene) -> Result<String> {
    let names = plugins(scene)?;
    ensure!(!names.iter().any(|name| name == PLUGIN), "found {names:?}");
    ensure!(!scene.node.bin().join(PLUGIN).exists(), "{PLUGIN} is still in {}", scene.node.bin().display());
    Ok(format!("left: {}", names.join(", ")))
}

/// That pods whose agent is gone for good are as if it had never been there.
pub(super) fn left_alone(scene: &Scene, web: &Running, db: &Running) -> Result<String> {
    for pod in [web, db] {
        let pins = pins(pod);
        ensure!(pins.is_empty(), "found {pins:?}");
    }
    let said = scene.inside(web, &format!("wget -q -O - http://{}/", db.app()))?;
    ensure!(said.trim() == GREETING, "expected {GREETING:?}, found {said:?}");
    Ok(String::new())
}
