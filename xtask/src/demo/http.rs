//! What is claimed of requests that the sidecars look at: the trace that goes through both, the metrics that people watch,
//! and a line for each request.

use std::fmt::Write as _;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::golden::Golden;
use super::scene::{CAPTURED, Scene};
use super::story::Story;
use crate::lab::Sidecar;
use crate::process::capture;

/// How many requests nginx answers with its greeting, and how many with 404.
const ASKED: [(&str, u16, usize); 2] = [("/looked-at", 200, 18), ("/missing", 404, 2)];
/// The one whose way is shown.
const SHOWN: &str = "/looked-at-1";

/// The trace that curl says it is a part of, and its span: the example of W3C Trace Context, section 3.2.
const CURL: [&str; 2] = ["4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"];

/// What is known of a request, as far as claims are made about it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Request {
    direction: String,
    tier: String,
    method: String,
    path: String,
    status: u16,
    trace_id: String,
    span_id: String,
    parent_span_id: Option<String>,
    source_principal: Option<String>,
    destination_principal: Option<String>,
    duration_ms: f64,
}

/// Requests, and everything that the two sidecars tell of them.
pub(super) fn looked_at(story: &mut Story, scene: &Scene<'_>) {
    let began = Instant::now();
    let asked: usize = ASKED.iter().map(|(.., count)| count).sum();
    story.claim(&format!("curl gets {asked} answers from nginx over one connection"), ask(story, scene));
    let elapsed = began.elapsed();
    let sides = [("client", &scene.client_sidecar), ("server", &scene.server_sidecar)];
    let mut shown = Vec::new();
    for (whose, sidecar) in sides {
        let outcome = one_line_each(scene, sidecar).and_then(|lines| {
            let (text, request) =
                lines.iter().find(|(_, it)| it.path == SHOWN).context("the line is missing")?;
            shown.push((whose, request.clone()));
            Ok(format!("{text}\n… and {} more", lines.len() - 1))
        });
        story.claim(&format!("the {whose}'s sidecar logs each with its status and both identities"), outcome);
    }
    story.claim(
        "the lines of one request are one trace: curl, within it the client, within it the server",
        tree(&shown),
    );
    story.claim("nginx was told of that trace and of the server's span", app_was_told(scene, &shown));
    for ((whose, sidecar), reporter) in sides.into_iter().zip(["source", "destination"]) {
        let outcome = sidecar.metrics().and_then(|text| {
            let golden = Golden::of(&text, reporter);
            for (_, status, count) in ASKED {
                let counted = golden.requests(status);
                ensure!(counted == count as f64, "expected {count} requests with {status}, found {counted}");
            }
            golden.told(elapsed)
        });
        story.claim(
            &format!("rate, errors and durations, from the metrics of the {whose}'s sidecar"),
            outcome,
        );
    }
}

/// Asks everything with one curl.
fn ask(story: &Story, scene: &Scene<'_>) -> Result<String> {
    let (pod, to) = (&scene.stage.client, scene.stage.server.v4(CAPTURED));
    let mut curl = pod.app("curl");
    curl.args(["--silent", "--show-error", "--max-time", "10", "--noproxy", "*"]);
    let [trace, span] = CURL;
    let parent = format!("traceparent: 00-{trace}-{span}-01");
    story.tell(&format!("$ curl --header '{parent}' …"));
    curl.args(["--header", &parent, "--write-out", "%{http_code} %{num_connects}\\n"]);
    for (path, _, count) in ASKED {
        let page = format!("http://{to}{path}-[1-{count}]");
        story.tell(&format!("$ curl {page}"));
        curl.args(["--output", "/dev/null", &page]);
    }
    let printed = capture(&mut curl)?;
    for (_, status, count) in ASKED {
        let found = printed.lines().filter(|line| line.starts_with(&status.to_string())).count();
        ensure!(found == count, "expected {count} answers with {status}, found {found} in {printed:?}");
    }
    let connected = printed.lines().filter(|line| line.ends_with(" 1")).count();
    ensure!(connected == 1, "expected one connection, found {connected}");
    Ok(String::new())
}

/// The lines of all requests, waited for: each as written and as read.
fn one_line_each(scene: &Scene<'_>, sidecar: &Sidecar) -> Result<Vec<(String, Request)>> {
    let asked: usize = ASKED.iter().map(|(.., count)| count).sum();
    let lines = scene.stage.lab.patience().until("a line for each request", || {
        let lines: Vec<_> = sidecar.access_lines().into_iter().filter_map(read).collect();
        Ok((lines.len() >= asked).then_some(lines))
    })?;
    ensure!(lines.len() == asked, "expected {asked} lines, found {}", lines.len());
    let [client, server] = scene.stage.members().map(|member| Some(member.identity()));
    for (text, request) in &lines {
        let expected = ASKED.iter().find(|(path, ..)| request.path.starts_with(path));
        let status = expected.map(|(_, status, _)| *status);
        ensure!(Some(request.status) == status, "expected the status {status:?}, found {text}");
        let named = request.source_principal == client && request.destination_principal == server;
        ensure!(named, "expected both identities, found {text}");
    }
    Ok(lines)
}

fn read(text: String) -> Option<(String, Request)> {
    let request: Request = serde_json::from_str(&text).ok()?;
    (request.tier == "http").then_some((text, request))
}

/// Draws the trace that all of them tell of.
fn tree(shown: &[(&str, Request)]) -> Result<String> {
    let [(_, client), (_, server)] = shown else { bail!("there are not two lines to compare") };
    let [trace, mut parent] = CURL;
    let mut drawn = format!("trace {trace}\n└─ curl{:56}span {parent}\n", "");
    for (indent, (whose, request)) in ["   ", "      "].iter().zip(shown) {
        ensure!(request.trace_id == trace, "expected the trace {trace}, found {}", request.trace_id);
        let found = request.parent_span_id.as_deref();
        ensure!(found == Some(parent), "expected the parent {parent} in the {whose}'s line, found {found:?}");
        let Request { direction, method, path, status, duration_ms, .. } = request;
        let told = format!("{whose} {direction:<8} {method} {path} {status}  {duration_ms:.2} ms");
        writeln!(drawn, "{indent}└─ {told:<width$}span {}", request.span_id, width = 60 - indent.len())?;
        parent = &request.span_id;
    }
    ensure!(client.span_id != server.span_id, "expected two spans, found {} twice", client.span_id);
    Ok(drawn)
}

/// What the app has to go on with.
fn app_was_told(scene: &Scene<'_>, shown: &[(&str, Request)]) -> Result<String> {
    let (_, server) = shown.last().context("there is no line of the server's")?;
    let told = scene.stage.nginx_parent(SHOWN)?;
    let expected = format!("00-{}-{}-01", server.trace_id, server.span_id);
    ensure!(told == expected, "expected {expected}, found {told}");
    Ok(format!("traceparent: {told}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(direction: &str, span: &str, parent: &str) -> Request {
        Request {
            direction: direction.into(),
            tier: "http".into(),
            method: "GET".into(),
            path: SHOWN.into(),
            status: 200,
            trace_id: CURL[0].into(),
            span_id: span.into(),
            parent_span_id: Some(parent.into()),
            source_principal: None,
            destination_principal: None,
            duration_ms: 1.5,
        }
    }

    #[test]
    fn a_tree_is_drawn_of_spans_that_belong_together() {
        let client = ("client", request("outbound", "aa", CURL[1]));
        let drawn = tree(&[client.clone(), ("server", request("inbound", "bb", "aa"))]).unwrap();
        let lines: Vec<&str> = drawn.lines().collect();
        assert!(lines[1].starts_with("└─ curl ") && lines[1].ends_with(" span 00f067aa0ba902b7"), "{drawn}");
        assert!(lines[2].starts_with("   └─ client outbound GET /looked-at-1 200  1.50 ms "), "{drawn}");
        assert!(lines[3].starts_with("      └─ server inbound  GET /looked-at-1 200 "), "{drawn}");
        let spans = lines[1..].iter().map(|line| line.split("span ").next().map(|text| text.chars().count()));
        assert!(spans.clone().all(|width| width == Some(63)), "{:?} in {drawn}", spans.collect::<Vec<_>>());
        assert!(tree(&[client, ("server", request("inbound", "bb", "cc"))]).is_err());
    }

    #[test]
    fn connections_are_not_requests() {
        assert_eq!(read(r#"{"tier":"tunnel","direction":"outbound"}"#.to_owned()), None);
    }
}
