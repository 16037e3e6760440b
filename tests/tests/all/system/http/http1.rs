//! nginx and curl: everything of HTTP/1 that people use, as if there were nothing in between.

use std::net::SocketAddr;

use serde_json::json;
use sidestep_tests::{Need, Place, Process, needs_capture};

use super::super::server::{Server, answer};
use super::origin::{HTTP1, LARGE, PAGE, nginx, url};
use super::scene::{Scene, Sidecars, Way, flags, method, path, status, text};
use super::script::Script;

/// A scene with nginx in it, and the sidecars.
fn with_nginx(test: impl Fn(&Scene, &Sidecars<'_>, &Server)) {
    for way in Way::ALL {
        let scene = Scene::of(way);
        let nginx = nginx(&scene.server);
        let sidecars = scene.sidecars();
        test(&scene, &sidecars, &nginx);
    }
}

/// Runs curl as the client's app, which must succeed, and hands on what it printed.
fn curl(scene: &Scene, arguments: &[&str]) -> String {
    let fixed = ["-sS", "--max-time", "20", "--noproxy", "*"];
    answer(scene.client.app(), "curl", fixed.iter().chain(arguments))
}

/// The digest of what a command writes to its standard output.
fn digest(place: Place<'_>, shell: &str) -> String {
    answer(place, "sh", ["-c", &format!("{shell} | sha256sum")])
}

fn target(scene: &Scene) -> SocketAddr {
    scene.server.v4(HTTP1)
}

#[test]
fn every_request_is_told_by_both_sides_with_its_status() {
    needs_capture!(Need::Tool("nginx"), Need::Tool("curl"), Need::Ipv6);
    with_nginx(|scene, sidecars, nginx| {
        for to in [target(scene), scene.server.v6(HTTP1)] {
            let printed = curl(scene, &["-g", "-w", " %{http_code}", &url(to, "/a?b=c")]);
            assert_eq!(printed, format!("{PAGE} 200"));
            let missing =
                curl(scene, &["-g", "-o", "/dev/null", "-w", "%{http_code}", &url(to, "/files/none")]);
            assert_eq!(missing, "404");
            for lines in sidecars.logged(to, 2) {
                let told: Vec<_> =
                    lines.iter().map(|line| (method(line), path(line), status(line))).collect();
                let expected = [("/a?b=c", 200), ("/files/none", 404)];
                assert_eq!(told, expected.map(|(path, status)| ("GET".to_owned(), path.to_owned(), status)));
                assert!(lines.iter().all(|line| flags(line) == "-"), "{lines:?}");
            }
        }
        let log = nginx.file("access.log");
        let from = scene.client.v4(0).ip();
        assert!(log.contains(&format!("{from} HTTP/1.1 GET /a 200")), "nginx sees the client itself: {log}");
        for (sidecar, reporter) in [(&sidecars.near, "source"), (&sidecars.far, "destination")] {
            let counted = |code| {
                sidecar.metric("istio_requests_total", &[("reporter", reporter), ("response_code", code)])
            };
            assert_eq!((counted("200"), counted("404")), (2.0, 2.0));
        }
    });
}

#[test]
fn connections_are_kept_and_old_ones_are_not() {
    needs_capture!(Need::Tool("nginx"), Need::Tool("curl"));
    with_nginx(|scene, sidecars, nginx| {
        let page = url(target(scene), "/");
        let format = "%{http_version} %{num_connects}\n";
        let printed = curl(scene, &["-o", "/dev/null", "-o", "/dev/null", "-w", format, &page, &page]);
        assert_eq!(printed, "1.1 1\n1.1 0", "the second request needs no connection");
        let old = curl(scene, &["--http1.0", "-w", " %{http_version}", &page]);
        assert!(old.starts_with(&format!("{PAGE} 1")), "{old}");
        let kept = curl(scene, &["--http1.0", "-H", "Connection: keep-alive", "-w", "\n", &page, &page]);
        assert_eq!(kept, format!("{PAGE}\n{PAGE}"));
        sidecars.logged(target(scene), 5);
        assert!(
            nginx.file("access.log").lines().any(|line| line.ends_with(" 2")),
            "a connection was used twice"
        );
    });
}

#[test]
fn large_bodies_arrive_whole_both_ways() {
    needs_capture!(Need::Tool("nginx"), Need::Tool("curl"), Need::Tool("sha256sum"));
    with_nginx(|scene, sidecars, nginx| {
        let to = target(scene);
        let large = nginx.path().join("large").display().to_string();
        let original = digest(scene.client.app(), &format!("cat {large}"));
        let down = digest(scene.client.app(), &format!("curl -sS --max-time 30 {}", url(to, "/files/large")));
        assert_eq!(down, original, "downloaded");
        for (name, more) in [("sized", ""), ("chunked", "-H 'Transfer-Encoding: chunked'")] {
            let put = url(to, &format!("/put/{name}"));
            let shell =
                format!("curl -sS --max-time 30 {more} -T {large} -o /dev/null -w '%{{http_code}}' {put}");
            assert_eq!(answer(scene.client.app(), "sh", ["-c", &shell]), "201", "{name}");
            let stored = nginx.path().join("put").join(name).display().to_string();
            assert_eq!(digest(scene.client.app(), &format!("cat {stored}")), original, "{name}");
        }
        for lines in sidecars.logged(to, 3) {
            let down = lines.iter().find(|line| method(line) == "GET").map(|line| line.bytes_received);
            assert_eq!(down, Some(LARGE as u64));
            let up: Vec<u64> =
                lines.iter().filter(|line| method(line) == "PUT").map(|line| line.bytes_sent).collect();
            assert_eq!(up, [LARGE as u64; 2]);
        }
    });
}

#[test]
fn what_has_no_body_has_none() {
    needs_capture!(Need::Tool("nginx"), Need::Tool("curl"));
    with_nginx(|scene, sidecars, _nginx| {
        let to = target(scene);
        let small = url(to, "/files/small");
        let head = curl(scene, &["-I", &small]);
        assert!(head.contains("Content-Length: 10"), "{head}");
        assert!(head.contains("X-MiXeD-Case: Yes"), "the case of names is kept: {head}");
        let tag = head.lines().find_map(|line| line.strip_prefix("ETag: ")).unwrap_or_default();
        let unless = format!("If-None-Match: {}", tag.trim());
        let same = curl(scene, &["-w", "%{http_code} %{size_download}", "-H", &unless, &small]);
        assert_eq!(same, "304 0");
        let nothing = url(to, "/nothing");
        let format = "%{http_code} %{num_connects}\n";
        assert_eq!(curl(scene, &["-w", format, &nothing, &nothing]), "204 1\n204 0");
        let part = curl(scene, &["-r", "3-5", "-w", " %{http_code}", &small]);
        assert_eq!(part, "345 206");
        sidecars.logged(to, 5);
    });
}

#[test]
fn trailers_come_behind_the_body() {
    needs_capture!(Need::Tool("nginx"), Need::Tool("curl"));
    with_nginx(|scene, sidecars, _nginx| {
        let printed = curl(
            scene,
            &["-D", "-", "-H", "TE: trailers", "-H", "Connection: TE", &url(target(scene), "/trailer/small")],
        );
        // The names of trailers are not kept in their case, as those of heads are.
        assert!(printed.contains("0123456789x-sum: abc123"), "{printed}");
        sidecars.logged(target(scene), 1);
    });
}

#[test]
fn an_upload_waits_until_it_is_told_to_continue() {
    needs_capture!(Need::Tool("nginx"), Need::Tool("curl"));
    with_nginx(|scene, sidecars, nginx| {
        let small = nginx.path().join("small").display().to_string();
        let put = url(target(scene), "/put/small");
        let client = scene.client.app().start(
            "curl",
            [
                "-vsS",
                "--expect100-timeout",
                "15",
                "--max-time",
                "10",
                "-H",
                "Expect: 100-continue",
                "-T",
                &small,
                &put,
            ],
        );
        client.succeed();
        let told = client.stderr();
        assert!(told.contains("HTTP/1.1 100 Continue") && told.contains("HTTP/1.1 201"), "{told}");
        assert_eq!(nginx.file("put/small"), "0123456789");
        sidecars.logged(target(scene), 1);
    });
}

#[test]
fn an_early_answer_ends_an_upload() {
    needs_capture!(Need::Tool("nginx"), Need::Tool("curl"));
    with_nginx(|scene, sidecars, nginx| {
        let large = nginx.path().join("large").display().to_string();
        let put = url(target(scene), "/small-only/x");
        for more in [&["-H", "Expect: 100-continue"][..], &["-H", "Expect:"]] {
            let fixed =
                ["-sS", "--max-time", "10", "-o", "/dev/null", "-w", "%{http_code}", "-T", &large, &put];
            let client = scene.client.app().start("curl", fixed.iter().chain(more));
            client.end();
            assert_eq!(client.stdout(), ["413"], "{more:?}: {}", client.stderr());
        }
        for lines in sidecars.logged(target(scene), 2) {
            assert!(lines.iter().all(|line| status(line) == 413), "{lines:?}");
        }
    });
}

/// A trace that a client has begun and records (W3C Trace Context, section 3.2).
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[test]
fn a_head_arrives_as_it_was_written() {
    needs_capture!(Need::Tool("curl"), Need::Tool("python3"));
    for way in Way::ALL {
        let scene = Scene::of(way).traced();
        let to = target(&scene);
        let _recorder = Script::listening(scene.server.app(), "recorder.py", &format!("serve {to}"));
        let sidecars = scene.sidecars();
        let parent = format!("traceparent: {TRACE}");
        let more = [
            "-H",
            &parent,
            "-H",
            "X-CamelCase: One",
            "-H",
            "x-camelcase: two",
            "-H",
            "X-Empty;",
            "-H",
            "Connection: X-Hop",
            "-H",
            "X-Hop: gone",
        ];
        let page = url(to, "/a//b/../c%2F%7e?q=%20&&");
        let printed = curl(&scene, &[&more[..], &["--path-as-is", &page]].concat());
        assert_eq!(printed, "ok");
        let [request] = &super::smuggling::recorded(&scene.server, to)[..] else {
            panic!("expected one request")
        };
        assert_eq!(request.target, "/a//b/../c%2F%7e?q=%20&&", "the path is not touched");
        let has = |name: &str, value: &str| request.fields.iter().any(|(n, v)| n == name && v == value);
        assert!(has("X-CamelCase", "One") && has("x-camelcase", "two") && has("X-Empty", ""), "{request:?}");
        assert!(has("Host", &to.to_string()), "{request:?}");
        assert!(request.values("x-hop").next().is_none(), "a field of one hop goes no further: {request:?}");
        assert!(request.values("x-request-id").next().is_some(), "{request:?}");
        let parents: Vec<&str> = request.values("traceparent").collect();
        let [parent] = parents[..] else { panic!("expected one parent, found {parents:?}") };
        assert_eq!(parent.get(3..35), TRACE.get(3..35), "the trace goes on");
        assert_eq!(parent.get(53..), Some("01"), "as the client decided");
        let [near, far] = sidecars.logged(to, 1);
        for line in near.iter().chain(&far) {
            assert_eq!(line.trace_id.as_deref(), TRACE.get(3..35), "{line:?}");
        }
        assert_eq!(
            text(&near[0], "parent_span_id"),
            TRACE[36..52],
            "the client's own span is above: {near:?}"
        );
        assert_eq!(text(&far[0], "parent_span_id"), text(&near[0], "span_id"), "then ours: {far:?}");
        assert_eq!(
            text(&far[0], "span_id"),
            parent[36..52],
            "the app is told of the span of its own sidecar"
        );
    }
}

#[test]
fn a_client_that_goes_away_is_told_so() {
    needs_capture!(Need::Tool("nginx"), Need::Tool("curl"));
    with_nginx(|scene, sidecars, _nginx| {
        let page = url(target(scene), "/files/large");
        let client =
            scene.client.app().start("curl", ["-sS", "--limit-rate", "10k", "-o", "/dev/null", &page]);
        sidestep_tests::eventually("the answer has begun", || {
            let open = sidecars.far.metric("sidestep_connections_active", &[("direction", "inbound")]);
            if open > 0.0 { Ok(()) } else { Err(open) }
        });
        std::thread::sleep(std::time::Duration::from_millis(300));
        client.kill();
        for lines in sidecars.logged(target(scene), 1) {
            assert_eq!((status(&lines[0]), flags(&lines[0])), (200, "DC".to_owned()), "{lines:?}");
        }
    });
}

#[test]
fn a_captured_proxy_is_asked_to_connect() {
    needs_capture!(Need::Tool("nginx"), Need::Tool("haproxy"), Need::Tool("curl"));
    for way in Way::ALL {
        let scene = Scene::of(way);
        let _nginx = nginx(&scene.server);
        let proxy = scene.server.v4(3128);
        let _proxy = Script::listening(scene.server.app(), "connect_proxy.py", &format!("serve {proxy}"));
        let sidecars = scene.sidecars();
        // A proxy that the app itself was told about: what it tunnels is the app's own business.
        let page = format!("https://{}/", scene.server.v4(super::origin::HTTPS));
        let arguments =
            ["-k", "--proxytunnel", "--proxy", &format!("http://{proxy}"), &page].map(str::to_owned);
        let client: Process = scene
            .client
            .app()
            .start("curl", ["-sS", "--max-time", "10"].map(str::to_owned).iter().chain(&arguments));
        client.succeed();
        assert_eq!(client.stdout(), [PAGE]);
        for lines in sidecars.logged(proxy, 1) {
            assert_eq!((method(&lines[0]), status(&lines[0])), ("CONNECT".to_owned(), 200), "{lines:?}");
            assert!(lines[0].bytes_received > PAGE.len() as u64, "what was tunnelled is counted: {lines:?}");
        }
    }
}

#[test]
fn declared_ports_are_not_looked_at() {
    needs_capture!(Need::Tool("nginx"), Need::Tool("curl"));
    let scene = Scene::of(Way::Plain).with(json!({ "opaque-ports": [HTTP1] }));
    let _nginx = nginx(&scene.server);
    let sidecars = scene.sidecars();
    assert_eq!(curl(&scene, &[&url(target(&scene), "/")]), PAGE);
    for line in [sidecars.near.log.outbound(target(&scene)), sidecars.far.log.inbound(target(&scene))] {
        assert_eq!(line.tier, "relay", "{line:?}");
    }
}
