//! What is claimed of two workloads that know each other: the tunnel between them, and what becomes of others.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};

use super::claims::{greeting, ways};
use super::nginx::GREETING;
use super::rules::RulesFile;
use super::scene::{CAPTURED, Logged, Scene, Stage, connect, find, is_connected};
use super::story::Story;
use super::tap::{Recording, Tap};
use super::tls;
use crate::lab::{Lab, Member, Pod};

/// Where tunnels end.
const TUNNEL: u16 = 15008;
/// What is asked for over each way.
const PATHS: [&str; 2] = ["/secret-over-ipv4", "/secret-over-ipv6"];

/// A file that says that plain text is taken, as everybody does who has not been told otherwise.
pub(super) fn permissive(lab: &Lab) -> Result<RulesFile> {
    let file = RulesFile::new(lab, "peer-authentication");
    file.say(&peer_authentication("PERMISSIVE"))?;
    Ok(file)
}

/// What says so for the whole mesh.
fn peer_authentication(mode: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
         metadata: {{ name: default, namespace: istio-system }}\nspec: {{ mtls: {{ mode: {mode} }} }}\n"
    )
}

/// A request over each way, through the tunnel.
pub(super) fn requests(story: &mut Story, scene: &Scene<'_>) {
    for ((from, to), path) in ways(scene.stage).into_iter().zip(PATHS) {
        story.tell(&format!("$ curl http://{to}{path}"));
        story.claim("curl gets nginx's answer", greeting(&scene.stage.client, to, path));
        let outbound = scene.logged(&scene.client_sidecar, ("outbound", "proxy"), to);
        let inbound = scene.logged(&scene.server_sidecar, ("inbound", "proxy"), to);
        for (whose, logged) in [("client", outbound), ("server", inbound)] {
            let outcome = logged.and_then(|logged| names_both(logged, &scene.stage.members()));
            story.claim(&format!("the {whose}'s sidecar logs a tunnel and both identities"), outcome);
        }
        let seen = scene.stage.nginx_line(path).and_then(|line| {
            ensure!(line.starts_with(&from.ip().to_string()), "expected {} first, found {line:?}", from.ip());
            Ok(line)
        });
        story.claim(&format!("nginx sees the real client, {}, and no proxy", from.ip()), seen);
    }
}

fn names_both(logged: Logged, [client, server]: &[Member; 2]) -> Result<String> {
    let Logged { text, line } = logged;
    ensure!(line.tier == "tunnel", "expected the tier tunnel, found {text}");
    for (whose, found, expected) in [
        ("source", &line.source_principal, client.identity()),
        ("destination", &line.destination_principal, server.identity()),
    ] {
        ensure!(found.as_ref() == Some(&expected), "expected the {whose} {expected}, found {text}");
    }
    Ok(text)
}

/// What somebody sees on the wire who looks at a request that nobody has encrypted.
pub(super) fn plain_on_the_wire(story: &mut Story, recorded: Result<Recording>, paths: &[&str]) {
    let outcome = recorded.and_then(|recording| {
        for text in paths.iter().chain(&[GREETING]) {
            ensure!(recording.shows(text), "expected {text:?} on the wire, found none of it");
        }
        Ok(format!("{} and nginx's answer were found", paths.join(", ")))
    });
    story.claim("anybody on the wire reads requests and answers, as tcpdump shows", outcome);
}

/// What there is to see of a tunnel.
pub(super) fn encrypted_on_the_wire(story: &mut Story, recorded: Result<Recording>) {
    let [v4, v6] = PATHS;
    all_encrypted(story, recorded, &[v4, v6, GREETING]);
}

/// The same, of a recording in which none of these texts may be.
pub(super) fn all_encrypted(story: &mut Story, recorded: Result<Recording>, secrets: &[&str]) {
    let recording = match recorded {
        Ok(recording) => recording,
        Err(error) => return story.claim("tcpdump records what is on the wire", Err(error)),
    };
    story.claim(&format!("every byte on the wire is TLS, to or from port {TUNNEL}"), all_tls(&recording));
    let readable = secrets.iter().find(|text| recording.shows(text));
    let outcome = match readable {
        None => Ok(format!("searched for {secrets:?}")),
        Some(text) => Err(anyhow::anyhow!("expected none of {text:?}, found it in plain text")),
    };
    story.claim("neither a request nor an answer is in it", outcome);
}

fn all_tls(recording: &Recording) -> Result<String> {
    let mut told = Vec::new();
    for ((from, to), stream) in &recording.streams {
        ensure!([from.port(), to.port()].contains(&TUNNEL), "found bytes from {from} to {to}");
        let records = tls::records(&stream.bytes).with_context(|| format!("{from} to {to}"))?;
        ensure!(records.application_data > 0, "expected data from {from} to {to}, found {records:?}");
        told.push(format!(
            "{from} -> {to}: {} bytes, {} records 16 03 .., {} records 17 03 03",
            stream.bytes.len(),
            records.handshake,
            records.application_data
        ));
    }
    ensure!(!told.is_empty(), "expected a tunnel on the wire, found nothing");
    Ok(told.join("\n"))
}

/// Somebody without an identity, before and after the server has been told to be strict.
pub(super) fn strict(story: &mut Story, scene: &Scene<'_>, rules: &RulesFile) {
    let Stage { third, client, server, lab, .. } = scene.stage;
    let to = server.v4(CAPTURED);
    story.tell(&format!("{} at {}: no sidecar, no certificate", third.name(), third.v4(0).ip()));
    story.claim("as long as the server is permissive, it is answered", greeting(third, to, "/stranger"));
    story.tell("mode: STRICT");
    let refused = rules.say(&peer_authentication("STRICT")).and_then(|()| {
        lab.patience().until("plain text to be refused", || {
            // It connects several times, and the change may come in between: then it fails, and is asked again.
            let outcome = connect(third, to, 1).map(|answer| answer.outcome).ok();
            Ok(outcome.filter(|outcome| outcome == "ECONNREFUSED"))
        })
    });
    story.claim("told to be strict while it runs, the server refuses its connection", refused);
    story.claim("its sidecar logs why", why_refused(scene, third, to));
    let inside = connect(server, to, 1).and_then(|answer| {
        ensure!(is_connected(&answer), "expected nginx at {to}, found {}", answer.outcome);
        Ok(String::new())
    });
    story.claim("though nginx listens there, as its own pod can tell", inside);
    story.claim("and the client, which has a certificate, is answered", greeting(client, to, "/still"));
}

fn why_refused(scene: &Scene<'_>, third: &Pod, to: SocketAddr) -> Result<String> {
    let Logged { text, line } = scene.logged(&scene.server_sidecar, ("inbound", "deny"), to)?;
    ensure!(line.reason == "plain_text", "expected the reason plain_text, found {text}");
    ensure!(line.is_from(third.v4(0).ip()), "expected the source {}, found {text}", third.v4(0).ip());
    if let Some(logged) = find(&scene.client_sidecar, ("outbound", "deny"), to) {
        bail!("expected nothing of it in the client's log, found {}", logged.text);
    }
    Ok(text)
}

/// Begins to look at the client's end of the wire.
pub(super) fn tap(stage: &Stage<'_>, name: &str) -> Result<Tap> {
    Tap::begin(stage.lab, &stage.client, name)
}
