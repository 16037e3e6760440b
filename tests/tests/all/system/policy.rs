//! Policies between real ends through two sidecars: what is denied how, what is only tried, and what a change cuts.

use std::time::{Duration, Instant};

use serde_json::json;
use sidestep_tests::{Access, Config, Mesh, Need, Pod, Process, Sidestep, eventually, needs_capture};

use super::web::nginx;

/// Where nginx of this ring listens.
const WEB: u16 = 8080;
/// Where the other ends of these tests do.
const PORT: u16 = 9000;
/// What a change of policy may take to be seen, by whoever is cut and whoever is not.
const WITHIN: Duration = Duration::from_secs(1);
const DECISIONS: &str = "sidestep_policy_decisions_total";

/// Says back what it is told, whatever is spoken.
const ECHO: &str = "
import socket, sys, threading
host, port = sys.argv[1].rsplit(':', 1)
def serve(one):
    while True:
        try:
            heard = one.recv(4096)
        except OSError:
            return
        if not heard:
            return one.close()
        if heard.startswith(b'GET '):
            heard = b'HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n\\r\\n'
        one.sendall(heard)
server = socket.create_server((host, int(port)), backlog=64)
print('listening', flush=True)
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
";

/// Speaks once a moment and says how it ended: in order, or by a reset.
const SPEAK: &str = "
import socket, sys, time
host, port = sys.argv[1].rsplit(':', 1)
first = sys.argv[2].encode().decode('unicode_escape').encode('latin1')
try:
    one = socket.create_connection((host, int(port)))
    one.settimeout(0.02)
    one.sendall(first)
    up = False
    while True:
        try:
            heard = one.recv(4096)
            if not heard:
                print('ended', flush=True)
                break
            if not up:
                up = True
                print('up', flush=True)
        except TimeoutError:
            if up:
                one.sendall(b'more')
except OSError as error:
    print('reset' if isinstance(error, (ConnectionResetError, BrokenPipeError)) else repr(error), flush=True)
";

const BYTES: &str = "\\x00\\x01\\x02 no HTTP";
const WEBSOCKET: &str =
    "GET /chat HTTP/1.1\\r\\nHost: server\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n\\r\\n";

/// An `AuthorizationPolicy` of the workload `server`, its spec in one line of YAML.
fn law(name: &str, spec: &str) -> String {
    tried(name, "{}", spec)
}

fn tried(name: &str, annotations: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n\
         metadata: {{ name: {name}, namespace: shop, annotations: {annotations} }}\n\
         spec: {{ selector: {{ matchLabels: {{ app: server }} }}, {spec} }}\n"
    )
}

/// Two pods and their mesh; the server is held to policies.
struct Scene {
    near: Pod,
    far: Pod,
    mesh: Mesh,
}

impl Scene {
    fn new(policies: &str) -> Self {
        let (near, far) = Pod::pair();
        let mesh = Mesh::new();
        mesh.hold_to(policies);
        Self { near, far, mesh }
    }

    fn server(&self) -> Sidestep<'_> {
        Sidestep::sidecar(&self.far, &self.mesh.member(Config::of(&self.far), "server"))
    }

    fn client(&self) -> Sidestep<'_> {
        let config = self.mesh.member(Config::of(&self.near), "client");
        Sidestep::sidecar(&self.near, &self.mesh.knows(config, &[("server", &self.far)]))
    }

    fn echo(&self) -> Process {
        let echo = self.far.app().start("python3", ["-c", ECHO, &self.far.v4(PORT).to_string()]);
        echo.line("a server that listens", |line| (line == "listening").then_some(()));
        echo
    }

    /// A client of the echo that speaks until it is cut.
    fn speak(&self, first: &str) -> Process {
        self.near.app().start("python3", ["-c", SPEAK, &self.far.v4(PORT).to_string(), first])
    }

    /// Status and body of what curl gets.
    fn curl(&self, arguments: &[&str], path: &str) -> String {
        let url = format!("http://{}{path}", self.far.v4(WEB));
        let fixed = ["-s", "--path-as-is", "-m", "10", "-w", " %{http_code} %{exitcode}"];
        let curl = self.near.app().start("curl", fixed.iter().chain(arguments).chain([&url.as_str()]));
        curl.end();
        curl.stdout().join("\n")
    }
}

fn says(process: &Process, expected: &str) {
    process.line(expected, |line| (line == expected).then_some(()));
}

/// The lines of the log that name `policy`.
fn lines_by(sidecar: &Sidestep<'_>, field: &str, policy: &str, count: usize) -> Vec<Access> {
    eventually(&format!("{count} lines whose {field} is {policy}"), || {
        let mut lines = sidecar.log.lines();
        lines.retain(|line| line.more.get(field) == Some(&json!(policy)));
        if lines.len() == count { Ok(lines) } else { Err(format!("{:?}", sidecar.log.lines())) }
    })
}

#[test]
fn each_kind_of_caller_is_refused_in_its_own_words() {
    needs_capture!(Need::Tool("nginx"), Need::Tool("curl"), Need::Tool("python3"));
    let policies = law(
        "no-admin",
        "action: DENY, rules: [ { to: [ { operation: { paths: [ /admin* ] } } ] } ]",
    ) + &law(
        "no-toy",
        "action: DENY, rules: [ { when: [ { key: 'request.headers[x-toy]', values: [ '*' ] } ] } ]",
    ) + &law(
        "pass",
        "action: DENY, rules: [ { to: [ { operation: { paths: [ /guarded ] } } ], when: [ { key: 'request.headers[x-pass]', notValues: [ '*' ] } ] } ]",
    ) + &law(
        "no-echo",
        &format!(
            "action: DENY, rules: [ {{ from: [ {{ source: {{ principals: [ cluster.local/ns/shop/sa/client ] }} }} ], to: [ {{ operation: {{ ports: [ '{PORT}' ] }} }} ] }} ]"
        ),
    );
    let scene = Scene::new(&policies);
    let (_nginx, _echo) = (nginx(&scene.far), scene.echo());
    let (far, near) = (scene.server(), scene.client());
    let denied = "RBAC: access denied 403 0";
    assert_eq!(scene.curl(&[], "/x/../admin"), denied);
    assert_eq!(scene.curl(&["-H", "X-Toy: yes"], "/"), denied);
    assert!(scene.curl(&[], "/").ends_with(" 200 0"));
    assert!(scene.curl(&["-H", "X-Pass: a"], "/guarded").ends_with(" 200 0"));
    assert_eq!(scene.curl(&["-H", "X-Pass: a", "-H", "Connection: close, X-Pass"], "/guarded"), denied);
    assert!(scene.curl(&[], "/a%00b").ends_with(" 400 0"));
    let grpc = ["--http2-prior-knowledge", "-H", "content-type: application/grpc", "-D", "-"];
    let told = scene.curl(&grpc, "/admin.Service/Method");
    assert!(told.contains("grpc-status: 7") && told.ends_with(" 200 0"), "{told}");
    says(&scene.speak(BYTES), "reset");
    let lines = lines_by(&far, "policy", "shop/no-admin[0]", 2);
    assert!(lines.iter().all(|line| line.more["response_flags"] == "UAEX"), "{lines:?}");
    let of_connection = lines_by(&far, "policy", "shop/no-echo[0]", 1).remove(0);
    assert_eq!((of_connection.verdict.as_str(), of_connection.reason.as_str()), ("deny", "policy"));
    let error = of_connection.error.unwrap_or_default();
    assert!(error.contains("shop/no-echo[0]"), "{error}");
    for (policy, count) in [("shop/no-admin", 2.0), ("shop/no-toy", 1.0), ("shop/no-echo", 1.0)] {
        assert_eq!(far.metric(DECISIONS, &[("policy", policy), ("effect", "denied")]), count, "{policy}");
    }
    eventually("the client's log says what the tunnel answered", || {
        let lines = near.log.lines();
        let told = |line: &Access| line.error.as_ref().is_some_and(|error| error.contains("answered 401"));
        if lines.iter().any(told) { Ok(()) } else { Err(format!("{lines:?}")) }
    });
}

#[test]
fn what_is_tried_or_audited_is_told_and_not_done() {
    needs_capture!(Need::Tool("nginx"), Need::Tool("curl"));
    let policies = tried(
        "soon",
        "{ istio.io/dry-run: 'true' }",
        "action: DENY, rules: [ { to: [ { operation: { methods: [ POST, GET ] } } ] } ]",
    ) + &law("watch", "action: AUDIT, rules: [ { to: [ { operation: { paths: [ / ] } } ] } ]");
    let scene = Scene::new(&policies);
    let _nginx = nginx(&scene.far);
    let (far, _near) = (scene.server(), scene.client());
    assert!(scene.curl(&[], "/").ends_with(" 200 0"));
    let line = lines_by(&far, "would_be", "denied:shop/soon[0]", 1).remove(0);
    assert_eq!((&line.more["audit"], &line.more["policy"]), (&json!("shop/watch[0]"), &json!(null)));
    for (policy, effect) in [("shop/soon", "would_deny"), ("shop/watch", "audited")] {
        assert_eq!(far.metric(DECISIONS, &[("policy", policy), ("effect", effect)]), 1.0, "{policy}");
    }
    assert_eq!(far.metric(DECISIONS, &[("effect", "denied")]), 0.0);
}

#[test]
fn a_change_cuts_what_it_denies_within_a_second_and_nothing_else() {
    needs_capture!(Need::Tool("python3"));
    let scene = Scene::new("");
    let _echo = scene.echo();
    let config = scene.mesh.member(Config::of(&scene.far), "server").with("http", json!({}));
    let (far, _near) = (Sidestep::sidecar(&scene.far, &config), scene.client());
    let (bytes, chat) = (scene.speak(BYTES), scene.speak(WEBSOCKET));
    for one in [&bytes, &chat] {
        says(one, "up");
    }
    // What is not whole keeps what is in force.
    scene.mesh.hold_to("---\napiVersion: security.istio.io/v1\nkind: Authoriz");
    let other = law("other", "action: DENY, rules: [ { to: [ { operation: { ports: [ '9001' ] } } ] } ]");
    scene.mesh.hold_to(&other);
    eventually("another policy is in force", || {
        let applied = far.process.stderr().matches("configuration changed").count();
        if applied > 0 { Ok(()) } else { Err(far.process.stderr()) }
    });
    assert!(bytes.status().is_none() && chat.status().is_none(), "cut by a policy about another port");
    let client = "from: [ { source: { principals: [ '*/sa/client' ] } } ]";
    scene.mesh.hold_to(&(other + &law("out", &format!("action: DENY, rules: [ {{ {client} }} ]"))));
    let changed = Instant::now();
    for one in [&bytes, &chat] {
        says(one, "reset");
    }
    let took = changed.elapsed();
    assert!(took < WITHIN, "it took {took:?}");
    let lines = lines_by(&far, "policy", "shop/out[0]", 3);
    assert!(lines.iter().any(|line| line.more.contains_key("method")), "the request is told: {lines:?}");
    assert!(lines.iter().any(|line| line.reason == "policy" && line.tier == "tunnel"), "{lines:?}");
    assert_eq!(far.metric("sidestep_connections_active", &[("direction", "inbound")]), 0.0);
}

#[test]
fn a_storm_of_changes_cuts_nothing_that_all_of_them_allow_and_the_last_one_holds() {
    needs_capture!(Need::Tool("nginx"), Need::Tool("curl"), Need::Tool("python3"));
    let scene = Scene::new("");
    let (_nginx, _echo) = (nginx(&scene.far), scene.echo());
    let (far, _near) = (scene.server(), scene.client());
    let bytes = scene.speak(BYTES);
    says(&bytes, "up");
    let other = |port| {
        law(
            "other",
            &format!("action: DENY, rules: [ {{ to: [ {{ operation: {{ ports: [ '{port}' ] }} }} ] }} ]"),
        )
    };
    for second in 0..3 {
        for change in 0..100 {
            scene.mesh.hold_to(&other(10_000 + second * 100 + change));
            std::thread::sleep(Duration::from_millis(9));
        }
        assert!(scene.curl(&[], "/").ends_with(" 200 0"), "in the storm");
    }
    assert!(bytes.status().is_none(), "what no change denies stays: {}", bytes.stderr());
    scene.mesh.hold_to(&other(PORT));
    let changed = Instant::now();
    says(&bytes, "reset");
    assert!(changed.elapsed() < WITHIN * 2, "it took {:?}", changed.elapsed());
    lines_by(&far, "policy", "shop/other[0]", 1);
    assert!(scene.curl(&[], "/").ends_with(" 200 0"), "after it");
}

#[test]
fn plain_text_that_is_denied_whatever_it_says_is_refused_at_once() {
    needs_capture!(Need::Tool("curl"), Need::Tool("nginx"));
    let scene = Scene::new(&law("mesh", "rules: [ { from: [ { source: { namespaces: [ shop ] } } ] } ]"));
    let _nginx = nginx(&scene.far);
    let far = scene.server();
    let began = Instant::now();
    assert_eq!(scene.curl(&[], "/"), " 000 7");
    assert!(began.elapsed() < WITHIN * 2);
    let line = lines_by(&far, "policy", "none", 1).remove(0);
    assert_eq!(
        (line.verdict.as_str(), line.reason.as_str(), line.tier.as_str()),
        ("deny", "policy", "direct")
    );
    eventually("it is counted", || {
        let count = far.metric(DECISIONS, &[("policy", "none"), ("effect", "denied")]);
        if count >= 1.0 { Ok(()) } else { Err(count) }
    });
}
