//! PostgreSQL that takes nothing but TLS, and psql that speaks none.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use sidestep_tests::{Hosts, Need, Pod, Sidestep, needs_capture};

use super::super::databases::{postgresql, run};
use super::super::server::{Server, answer, eventually_succeeds, hand_over, write};
use super::{NAME, Scene, config};

const PORT: u16 = 5432;
/// Whether the connection that asks is encrypted, as PostgreSQL sees it, and the name in the client's certificate.
const ASK: &str = "select ssl, coalesce(client_dn, '-') from pg_stat_ssl where pid = pg_backend_pid()";

/// What a server is to demand.
struct Demands<'a> {
    /// Lines of `pg_hba.conf`.
    hba: &'a str,
    ssl: bool,
}

const TLS_ONLY: Demands<'_> = Demands { hba: "hostssl all all all trust\n", ssl: true };
const CERTIFICATES: Demands<'_> =
    Demands { hba: "hostssl all all all trust clientcert=verify-ca\n", ssl: true };
const NO_TLS: Demands<'_> = Demands { hba: "host all all all trust\n", ssl: false };

fn start(pod: &Pod, hosts: &Hosts, binaries: &Path, demands: &Demands<'_>) -> Server {
    let server = Server::start(pod.app(), "runuser", |directory| {
        hand_over(directory, "postgres");
        let data = directory.join("data");
        let [initdb, postgres] = ["initdb", "postgres"].map(|name| binaries.join(name).display().to_string());
        run(Command::new("runuser")
            .args(["-u", "postgres", "--", &initdb, "-A", "trust", "-D", &data.display().to_string()])
            .current_dir("/"));
        write(&data.join("pg_hba.conf"), demands.hba);
        hosts.issue_into(&data, &[NAME]);
        hand_over(&data.join("tls.key"), "postgres");
        std::fs::copy(hosts.bundle(), data.join("ca.pem")).unwrap_or_else(|error| panic!("copy: {error}"));
        let on = if demands.ssl { "on" } else { "off" };
        let settings = format!(
            "ssl = {on}\nssl_cert_file = 'tls.crt'\nssl_key_file = 'tls.key'\nssl_ca_file = 'ca.pem'\n"
        );
        write(&data.join("postgresql.auto.conf"), &settings);
        let socket = directory.display().to_string();
        let data = data.display().to_string();
        let postgres = ["-u", "postgres", "--", &postgres, "-D", &data, "-h", "0.0.0.0", "-k", &socket, "-F"];
        postgres.map(str::to_owned).into()
    });
    // Up as soon as it says anything at all: whom it lets in is the tests' business.
    eventually_succeeds(pod.sidecar(), "pg_isready", &["-h", "127.0.0.1", "-t", "1"]);
    server
}

/// The server's programs, if the machine has all that these tests need.
fn binaries() -> Option<PathBuf> {
    let found = postgresql();
    assert!(
        found.is_some() || !sidestep_tests::need::met(&[Need::Tool("postgres")]),
        "postgres is in PATH but not where it is kept"
    );
    found
}

fn psql(mode: &str) -> [String; 3] {
    [format!("host=127.0.0.1 user=postgres sslmode={mode}"), "-Atc".to_owned(), ASK.to_owned()]
}

/// What psql says where it gets nothing.
fn complaint(scene: &Scene) -> String {
    let client = scene.client.app().start("psql", psql("disable"));
    assert!(!client.end().success());
    client.stderr()
}

#[test]
fn psql_without_tls_reaches_a_server_that_demands_it() {
    needs_capture!(Need::Tool("psql"), Need::Tool("pg_isready"), Need::Tool("runuser"));
    let Some(binaries) = binaries() else { return };
    let scene = Scene::new();
    let _postgresql = start(&scene.server, &scene.hosts, &binaries, &TLS_ONLY);
    let plain = ["host=10.77.0.2 user=postgres sslmode=disable", "-Atc", "select 1"];
    let refused = scene.client.app().start("psql", plain);
    assert!(!refused.end().success() && refused.stderr().contains("no encryption"), "{}", refused.stderr());

    let sidestep = Sidestep::sidecar(&scene.client, &config(&scene.client, &[scene.entry(PORT, "postgres")]));
    for mode in ["prefer", "disable", "allow"] {
        assert_eq!(answer(scene.client.app(), "psql", psql(mode)), "t|-", "{mode}");
    }
    let line = sidestep.log.outbound("127.0.0.1:5432".parse().expect("an address"));
    assert_eq!(line.upstream, Some(scene.server.v4(PORT)));
    assert_eq!((line.verdict.as_str(), line.error.as_deref()), ("proxy", None));
    assert!(line.bytes_sent > 50 && line.bytes_received > 100, "{line:?}");
    // A client that insists on TLS of its own is told that there is none.
    let insisting = scene.client.app().start("psql", psql("require"));
    assert!(
        !insisting.end().success() && insisting.stderr().contains("does not support SSL"),
        "{}",
        insisting.stderr()
    );
    // Much more than fits into any buffer, both ways.
    let bulk = "select length(string_agg(md5(n::text), '')) from generate_series(1, 200000) n";
    let ask = ["host=127.0.0.1 user=postgres sslmode=disable", "-Atc", bulk];
    assert_eq!(answer(scene.client.app(), "psql", ask), "6400000");
    let all = "copy (select md5(n::text) from generate_series(1, 200000) n) to stdout";
    let ask = ["host=127.0.0.1 user=postgres sslmode=disable", "-Atc", all];
    assert_eq!(answer(scene.client.app(), "psql", ask).lines().count(), 200_000);
}

#[test]
fn a_server_that_does_not_prove_itself_is_refused_with_a_reason_that_psql_shows() {
    needs_capture!(Need::Tool("psql"), Need::Tool("pg_isready"), Need::Tool("runuser"));
    let Some(binaries) = binaries() else { return };
    let scene = Scene::new();
    let _postgresql = start(&scene.server, &scene.hosts, &binaries, &TLS_ONLY);
    let others = Hosts::new();
    for (field, wrong, told) in [
        ("ca", json!(others.bundle()), "UnknownIssuer"),
        ("server-name", json!("other.example.com"), "not valid for name"),
    ] {
        let mut entry = scene.entry(PORT, "postgres");
        entry[field] = wrong;
        let sidestep = Sidestep::sidecar(&scene.client, &config(&scene.client, &[entry]));
        let said = complaint(&scene);
        assert!(
            said.contains("sidestep: no TLS connection to 10.77.0.2:5432") && said.contains(told),
            "{said}"
        );
        let line = sidestep.log.outbound("127.0.0.1:5432".parse().expect("an address"));
        assert!(line.error.is_some_and(|error| error.contains(told)), "{field}");
        assert_eq!(line.error_side.as_deref(), Some("peer"));
    }
}

#[test]
fn a_server_without_tls_is_refused_and_gets_nothing_in_plain_text() {
    needs_capture!(Need::Tool("psql"), Need::Tool("pg_isready"), Need::Tool("runuser"));
    let Some(binaries) = binaries() else { return };
    let scene = Scene::new();
    let _postgresql = start(&scene.server, &scene.hosts, &binaries, &NO_TLS);
    let _sidestep =
        Sidestep::sidecar(&scene.client, &config(&scene.client, &[scene.entry(PORT, "postgres")]));
    let said = complaint(&scene);
    assert!(said.contains("expected a server that speaks TLS, found one that declines it"), "{said}");
}

#[test]
fn a_certificate_is_presented_to_a_server_that_demands_one() {
    needs_capture!(Need::Tool("psql"), Need::Tool("pg_isready"), Need::Tool("runuser"));
    let Some(binaries) = binaries() else { return };
    let scene = Scene::new();
    let _postgresql = start(&scene.server, &scene.hosts, &binaries, &CERTIFICATES);
    let own = scene.hosts.issue(&["client.example.com"]);
    {
        let _sidestep =
            Sidestep::sidecar(&scene.client, &config(&scene.client, &[scene.entry(PORT, "postgres")]));
        let said = complaint(&scene);
        assert!(said.contains("requires a valid client certificate"), "{said}");
    }
    let mut entry = scene.entry(PORT, "postgres");
    entry["certificate"] = json!(own.path());
    let _sidestep = Sidestep::sidecar(&scene.client, &config(&scene.client, &[entry]));
    assert_eq!(answer(scene.client.app(), "psql", psql("disable")), "t|/CN=client.example.com");
}
