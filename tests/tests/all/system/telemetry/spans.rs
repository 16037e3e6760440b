//! Spans as a real collector understands them, read back from what it prints.

use std::collections::HashMap;

use sidestep_tests::{Need, Process, needs_capture};

use super::*;

/// Where the collectors listen.
const GRPC: u16 = 4317;
const HTTP: u16 = 4318;

/// A span.
#[derive(Clone, Debug, Default)]
struct Span {
    trace: String,
    id: String,
    parent: String,
    name: String,
    kind: String,
    attributes: HashMap<String, String>,
    /// Of whom.
    resource: HashMap<String, String>,
}

impl Span {
    fn says(&self, expected: &[(&str, &str)]) {
        for (key, value) in expected {
            assert_eq!(self.attributes.get(*key).map(String::as_str), Some(*value), "{key} of {self:#?}");
        }
    }
}

/// A collector that prints what it is sent.
struct Collector(Process);

impl Collector {
    fn start(place: Place<'_>, what: &str) -> Self {
        let program = std::env::var_os("SIDESTEP_ROTEL").unwrap_or_default();
        let process = place.start(
            program,
            [
                "start".to_owned(),
                format!("--otlp-grpc-endpoint=127.0.0.1:{GRPC}"),
                format!("--otlp-http-endpoint=127.0.0.1:{HTTP}"),
                format!("--debug-log={what}"),
                "--debug-log-verbosity=detailed".to_owned(),
                "--exporter=blackhole".to_owned(),
            ],
        );
        process.line("that the collector listens", |line| line.contains("Starting Rotel").then_some(()));
        Self(process)
    }

    /// Every span so far.
    fn spans(&self) -> Vec<Span> {
        let (mut spans, mut resource, mut of_span) = (Vec::<Span>::new(), HashMap::new(), false);
        for line in self.0.stdout() {
            let text = line.trim();
            if text.starts_with("ResourceSpans #") {
                (resource, of_span) = (HashMap::new(), false);
            } else if text.starts_with("Span #") {
                spans.push(Span { resource: resource.clone(), ..Span::default() });
                of_span = true;
            } else if let Some((key, value)) = text.strip_prefix("-> ").and_then(|it| it.split_once(": ")) {
                // Of values the type is printed too: Str(web), Int(200).
                let value = value.split_once('(').map_or(value, |(_, rest)| rest.trim_end_matches(')'));
                let attributes = match spans.last_mut().filter(|_| of_span) {
                    Some(span) => &mut span.attributes,
                    None => &mut resource,
                };
                attributes.insert(key.to_owned(), value.to_owned());
            } else if let (Some(span), Some((key, value))) = (spans.last_mut(), text.split_once(':')) {
                let value = value.trim().to_owned();
                match key.trim() {
                    "Trace ID" => span.trace = value,
                    "Parent ID" => span.parent = value,
                    "ID" => span.id = value,
                    "Name" => span.name = value,
                    "Kind" => span.kind = value,
                    _ => {}
                }
            }
        }
        spans
    }
}

/// What both sidecars are told of their collectors.
fn tracing(protocol: &str, port: u16) -> [(&'static str, Value); 1] {
    let endpoint = format!("http://127.0.0.1:{port}");
    let resource = json!({ "deployment.environment.name": "test" });
    [("tracing", json!({ "endpoint": endpoint, "protocol": protocol, "sampling": 1, "resource": resource }))]
}

#[test]
fn a_call_through_two_sidecars_and_back_is_one_trace_though_the_app_hands_on_headers_only() {
    needs_capture!(Need::Tool("curl"), Need::Tool("python3"), Need::Rotel);
    let scene = Scene::new();
    // One over gRPC, the other over HTTP.
    let collectors =
        [Collector::start(scene.near.sidecar(), "traces"), Collector::start(scene.far.sidecar(), "traces")];
    let [near, far] = scene.sidecars(&tracing("grpc", GRPC), &tracing("http", HTTP));
    let _apps = scene.apps();
    let began = "0af7651916cd43dd8448eb211c80319c";
    let client = "b7ad6b7169203331";
    let header = format!("traceparent: 00-{began}-{client}-01");
    assert_eq!(scene.ask("/next?a=b", &[]), "leaf", "only /next is handed on");
    assert_eq!(scene.ask("/next", &["-H", &header, "-H", "tracestate: vendor=7"]), "next leaf");

    let spans = eventually("four spans of the trace", || {
        let spans = collectors.iter().flat_map(Collector::spans).collect::<Vec<_>>();
        let of_trace: Vec<Span> = spans.iter().filter(|span| span.trace == began).cloned().collect();
        if of_trace.len() == 4 { Ok(of_trace) } else { Err(spans) }
    });
    // From the client on, each is the parent of the next.
    let mut parent = client.to_owned();
    let mut chain = Vec::new();
    while let Some(span) = spans.iter().find(|span| span.parent == parent) {
        parent.clone_from(&span.id);
        chain.push(span);
    }
    let told = |span: &&Span| (span.kind.clone(), span.resource["service.name"].clone());
    let hops: Vec<(String, String)> = chain.iter().map(told).collect();
    let hop = |kind: &str, service: &str| (format!("SPAN_KIND_{kind}"), service.to_owned());
    assert_eq!(
        hops,
        [hop("CLIENT", "near"), hop("SERVER", "far"), hop("CLIENT", "far"), hop("SERVER", "near")],
        "{spans:#?}"
    );
    chain[0].says(&[
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("url.path", "/next"),
        ("network.protocol.version", "1.1"),
        ("sidestep.destination_principal", &identity("far")),
    ]);
    chain[1].says(&[("client.address", &scene.near.v4(PORT).ip().to_string()), ("url.scheme", "http")]);
    assert_eq!(chain[3].resource["deployment.environment.name"], "test");
    assert_eq!(chain[3].resource["k8s.namespace.name"], "shop");

    // The log has the same trace, and the counters agree.
    eventually("both requests are logged", || {
        let logged = near.log.lines().into_iter().filter(|line| line.trace_id.as_deref() == Some(began));
        let count = logged.filter(|line| line.tier == "http").count();
        if count == 2 { Ok(()) } else { Err(count) }
    });
    for sidecar in [&near, &far] {
        eventually("every span was sent", || {
            let sent = sidecar.metric("sidestep_exports_total", &[("signal", "span"), ("outcome", "sent")]);
            let dropped =
                sidecar.metric("sidestep_exports_total", &[("signal", "span"), ("outcome", "dropped")]);
            if sent >= 2.0 && dropped == 0.0 { Ok(()) } else { Err((sent, dropped)) }
        });
    }
}

#[test]
fn without_a_collector_requests_are_served_and_their_spans_are_counted_as_lost_at_the_end() {
    needs_capture!(Need::Tool("curl"), Need::Tool("python3"));
    let scene = Scene::new();
    let [near, _far] = scene.sidecars(&tracing("grpc", GRPC), &[]);
    let _apps = scene.apps();
    for _ in 0..20 {
        assert_eq!(scene.ask("/leaf", &[]), "leaf");
    }
    eventually("an attempt failed", || match near.metric("sidestep_export_failures_total", &[]) {
        0.0 => Err(near.process.stderr()),
        _ => Ok(()),
    });
    assert_eq!(near.process.stderr().matches("does not take spans").count(), 1, "{}", near.process.stderr());
    let status = near.process.stop(nix::sys::signal::Signal::SIGTERM);
    assert!(status.success(), "{status}");
}
