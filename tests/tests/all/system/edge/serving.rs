//! HTTPS in front of an app that speaks none and listens on loopback only.

use std::path::Path;

use serde_json::{Value, json};
use sidestep_tests::mesh::policy;
use sidestep_tests::{Config, Hosts, Mesh, Need, Pod, Process, Sidestep, eventually, needs_capture};

use super::super::server::{Server, answer, eventually_succeeds};

const NAME: &str = "web.example.com";
const PAGE: &str = "python was here";

/// An app that nobody reaches but over loopback, and that says who asked.
fn app(pod: &Pod) -> Server {
    let server = Server::start(pod.app(), "python3", |directory| {
        super::super::server::write(&directory.join("index.html"), PAGE);
        let directory = directory.display().to_string();
        ["-m", "http.server", "8080", "--bind", "127.0.0.1", "--directory", &directory]
            .map(str::to_owned)
            .into()
    });
    eventually_succeeds(pod.sidecar(), "curl", &["-sSf", "http://127.0.0.1:8080/"]);
    server
}

fn entry(certificate: &Path) -> Value {
    json!({ "listen": "0.0.0.0:8443", "to": "127.0.0.1:8080", "certificate": certificate })
}

/// What curl is told to find the app by its name, and to believe.
fn curl(hosts: &Hosts, more: &[&str]) -> Vec<String> {
    let fixed = [
        "-sS",
        "--max-time",
        "5",
        "--cacert",
        &hosts.bundle().display().to_string(),
        "--resolve",
        &format!("{NAME}:8443:10.77.0.2"),
    ];
    let url = format!("https://{NAME}:8443/");
    fixed.iter().chain(more).chain(&[url.as_str()]).map(|&word| word.to_owned()).collect()
}

fn asks(pod: &Pod, hosts: &Hosts, more: &[&str]) -> Process {
    pod.app().start("curl", curl(hosts, more))
}

#[test]
fn curl_gets_https_from_an_app_that_speaks_none_and_the_app_sees_curl() {
    needs_capture!(Need::Tool("python3"), Need::Tool("curl"));
    let (client, server) = Pod::pair();
    let (hosts, app) = (Hosts::new(), app(&server));
    let certificate = hosts.issue(&[NAME]);
    let config = Config::of(&server).with("serve-tls", json!([entry(certificate.path())]));
    let sidestep = Sidestep::sidecar(&server, &config);
    for version in [&["--http1.1"][..], &["--http2"], &["--tlsv1.3"], &["--tls-max", "1.2"]] {
        assert_eq!(answer(client.app(), "curl", curl(&hosts, version)), PAGE, "{version:?}");
    }
    let line = sidestep.log.inbound(server.v4(8443));
    assert_eq!(line.source.map(|source| source.ip()), Some(client.v4(0).ip()));
    assert_eq!(line.upstream, Some("127.0.0.1:8080".parse().expect("an address")));
    eventually("the app sees its real client", || {
        let log = app.stderr();
        if log.lines().any(|line| line.starts_with("10.77.0.1 ")) { Ok(()) } else { Err(log) }
    });
    let others = Hosts::new();
    let doubting = asks(&client, &others, &[]);
    assert_eq!(doubting.end().code(), Some(60), "{}", doubting.stderr());
}

#[test]
fn requests_over_https_are_looked_at_where_http_is() {
    needs_capture!(Need::Tool("python3"), Need::Tool("curl"));
    let (client, server) = Pod::pair();
    let (hosts, app) = (Hosts::new(), app(&server));
    let certificate = hosts.issue(&[NAME]);
    let config =
        Config::of(&server).with("serve-tls", json!([entry(certificate.path())])).with("http", json!({}));
    let sidestep = Sidestep::sidecar(&server, &config);
    for version in ["--http1.1", "--http2"] {
        let more = [version, "-H", "Cookie: a=1", "-w", " %{http_version} %{http_code}"];
        let printed = answer(client.app(), "curl", curl(&hosts, &more));
        let spoken = if version == "--http2" { "2" } else { "1.1" };
        assert_eq!(printed, format!("{PAGE} {spoken} 200"));
    }
    // Smuggling is refused behind TLS as anywhere.
    let both = ["-H", "Content-Length: 5", "-H", "Transfer-Encoding: chunked"];
    let more = [&["--http1.1", "-d", "x", "-w", " %{http_code}"][..], &both].concat();
    let asked = asks(&client, &hosts, &more);
    let _ended = asked.end();
    assert!(asked.stdout().join("").ends_with("400"), "{:?} {}", asked.stdout(), asked.stderr());
    eventually("the app sees its real client", || {
        let log = app.stderr();
        let asked = log.lines().filter(|line| line.starts_with("10.77.0.1 ")).count();
        if asked == 2 { Ok(()) } else { Err(log) }
    });
    let line = sidestep.log.expect("a connection", |line| line.direction == "inbound");
    assert_eq!(line.source.map(|source| source.ip()), Some(client.v4(0).ip()));
}

#[test]
fn a_replaced_certificate_is_presented_without_a_restart_and_a_broken_one_is_not() {
    needs_capture!(Need::Tool("python3"), Need::Tool("curl"));
    let (client, server) = Pod::pair();
    let (hosts, others, _app) = (Hosts::new(), Hosts::new(), app(&server));
    let certificate = hosts.issue(&[NAME]);
    let config = Config::of(&server).with("serve-tls", json!([entry(certificate.path())]));
    let sidestep = Sidestep::sidecar(&server, &config);
    assert!(asks(&client, &hosts, &[]).end().success());
    std::fs::write(certificate.path().join("tls.crt"), "no certificate")
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(asks(&client, &hosts, &[]).end().success(), "the old one stays in use");
    eventually("the mistake is told", || {
        let said = sidestep.process.stderr();
        if said.contains("keeping the certificates in use") { Ok(()) } else { Err(said) }
    });
    others.issue_into(certificate.path(), &[NAME]);
    assert_eq!(asks(&client, &hosts, &[]).end().code(), Some(60));
    assert!(asks(&client, &others, &[]).end().success());
}

#[test]
fn a_client_without_the_certificate_that_is_demanded_does_not_get_in() {
    needs_capture!(Need::Tool("python3"), Need::Tool("curl"));
    let (client, server) = Pod::pair();
    let (hosts, _app) = (Hosts::new(), app(&server));
    let (certificate, own) = (hosts.issue(&[NAME]), hosts.issue(&["client.example.com"]));
    let mut entry = entry(certificate.path());
    entry["client-ca"] = json!(hosts.bundle());
    let sidestep = Sidestep::sidecar(&server, &Config::of(&server).with("serve-tls", json!([entry])));
    assert!(!asks(&client, &hosts, &[]).end().success());
    let line = sidestep.log.inbound(server.v4(8443));
    assert_eq!((line.error_side.as_deref(), line.upstream), (Some("peer"), None), "{line:?}");
    let [certificate, key] = ["tls.crt", "tls.key"].map(|name| own.path().join(name).display().to_string());
    let asked = asks(&client, &hosts, &["--cert", &certificate, "--key", &key]);
    assert!(asked.end().success(), "{}", asked.stderr());
}

#[test]
fn where_mutual_tls_is_demanded_this_is_not_it() {
    needs_capture!(Need::Tool("python3"), Need::Tool("curl"));
    let (client, server) = Pod::pair();
    let (hosts, mesh, _app) = (Hosts::new(), Mesh::new(), app(&server));
    mesh.hold_to(&policy("{ mtls: { mode: STRICT } }"));
    let certificate = hosts.issue(&[NAME]);
    let config =
        mesh.member(Config::of(&server), "web").with("serve-tls", json!([entry(certificate.path())]));
    let sidestep = Sidestep::sidecar(&server, &config);
    assert!(!asks(&client, &hosts, &[]).end().success());
    let line = sidestep.log.inbound(server.v4(8443));
    assert_eq!((line.verdict.as_str(), line.reason.as_str()), ("deny", "plain_text"), "{line:?}");
    let port = "{ selector: { matchLabels: { app: web } }, mtls: { mode: STRICT }, portLevelMtls: { 8443: { mode: DISABLE } } }";
    mesh.hold_to(&policy(port));
    eventually("the port takes what is not of the mesh", || {
        let asked = asks(&client, &hosts, &[]);
        if asked.end().success() { Ok(()) } else { Err(asked.stderr()) }
    });
}
