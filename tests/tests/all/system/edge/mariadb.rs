//! MariaDB that takes nothing but TLS, and a client that speaks none.

use std::process::Command;

use serde_json::json;
use sidestep_tests::{Hosts, Need, Pod, Sidestep, eventually, needs_capture};

use super::super::databases::run;
use super::super::server::{Server, answer, hand_over, write};
use super::{NAME, Scene, config};

const PORT: u16 = 3306;
/// Accounts of every kind that says something of its own before it lets somebody in.
const ACCOUNTS: &str = "CREATE USER 'native'@'%' IDENTIFIED VIA mysql_native_password USING PASSWORD('secret');\n\
                        CREATE USER 'edwards'@'%' IDENTIFIED VIA ed25519 USING PASSWORD('secret');\n\
                        CREATE USER 'certified'@'%' IDENTIFIED BY 'secret' REQUIRE SUBJECT '/CN=client.example.com';\n";

/// MariaDB; `more` are further options.
fn mariadb(pod: &Pod, hosts: &Hosts, more: &[&str]) -> Server {
    let server = Server::start(pod.app(), "mariadbd", |directory| {
        hosts.issue_into(directory, &[NAME]);
        std::fs::copy(hosts.bundle(), directory.join("ca.pem"))
            .unwrap_or_else(|error| panic!("copy: {error}"));
        write(&directory.join("accounts.sql"), ACCOUNTS);
        for name in ["", "tls.key", "tls.crt", "accounts.sql"] {
            hand_over(&directory.join(name), "mysql");
        }
        let data = directory.display();
        let options = ["--no-defaults".to_owned(), "--user=mysql".to_owned(), format!("--datadir={data}")];
        run(Command::new("mariadb-install-db")
            .args(&options)
            .args(["--auth-root-authentication-method=normal", "--skip-test-db"]));
        let mut arguments = Vec::from(options);
        arguments.extend([
            format!("--socket={data}/socket"),
            format!("--pid-file={data}/pid"),
            format!("--init-file={data}/accounts.sql"),
            "--plugin-load-add=auth_ed25519".to_owned(),
            "--bind-address=0.0.0.0".to_owned(),
            "--skip-name-resolve".to_owned(),
        ]);
        arguments.extend(more.iter().map(|option| option.replace("{data}", &data.to_string())));
        arguments
    });
    eventually("mariadb is up", || {
        let asking = format!("--socket={}/socket", server.path().display());
        let client = pod.sidecar().start("mariadb", ["--no-defaults", &asking, "-uroot", "-e", "select 1"]);
        if client.end().success() { Ok(()) } else { Err(client.stderr()) }
    });
    server
}

const TLS: [&str; 4] = [
    "--ssl-cert={data}/tls.crt",
    "--ssl-key={data}/tls.key",
    "--ssl-ca={data}/ca.pem",
    "--require-secure-transport=ON",
];

fn client(user: &str, password: &str, host: &str, more: &[&str]) -> Vec<String> {
    let (user, password, host) =
        (format!("--user={user}"), format!("--password={password}"), format!("--host={host}"));
    let fixed = ["--no-defaults", &user, &password, &host, "--port=3306", "--batch", "--skip-column-names"];
    let ask = ["--execute=show status like 'Ssl_cipher'"];
    fixed.iter().chain(more).chain(&ask).map(|&word| word.to_owned()).collect()
}

#[test]
fn a_client_without_tls_reaches_a_server_that_demands_it_with_every_kind_of_account() {
    needs_capture!(Need::Tool("mariadbd"), Need::Tool("mariadb-install-db"), Need::Tool("mariadb"));
    let scene = Scene::new();
    let _mariadb = mariadb(&scene.server, &scene.hosts, &TLS);
    let plain = scene.client.app().start("mariadb", client("native", "secret", "10.77.0.2", &["--skip-ssl"]));
    assert!(!plain.end().success() && plain.stderr().contains("1045"), "{}", plain.stderr());

    let mut entry = scene.entry(PORT, "mysql");
    let own = scene.hosts.issue(&["client.example.com"]);
    entry["certificate"] = json!(own.path());
    let sidestep = Sidestep::sidecar(&scene.client, &config(&scene.client, &[entry]));
    for (user, more) in
        [("native", &[][..]), ("edwards", &[]), ("certified", &[]), ("native", &["--compress"])]
    {
        let printed = answer(scene.client.app(), "mariadb", client(user, "secret", "127.0.0.1", more));
        assert!(printed.starts_with("Ssl_cipher\tTLS_"), "{user} {more:?}: {printed}");
        let wrong = scene.client.app().start("mariadb", client(user, "wrong", "127.0.0.1", more));
        assert!(!wrong.end().success(), "{user}");
        assert!(
            wrong.stderr().contains("1045") && wrong.stderr().contains(user),
            "{user}: {}",
            wrong.stderr()
        );
    }
    // A server that denies a login may close with bytes of its client unread, which resets the connection.
    let line = sidestep.log.expect("a login that was let in", |line| line.error.is_none());
    assert_eq!(line.original_destination, "127.0.0.1:3306".parse().ok());
    assert_eq!(line.upstream, Some(scene.server.v4(PORT)));
    let mut bulk = client("native", "secret", "127.0.0.1", &[]);
    bulk.pop();
    bulk.push("--execute=select repeat('x', 10000000)".to_owned());
    assert_eq!(answer(scene.client.app(), "mariadb", bulk).len(), 10_000_000);
}

#[test]
fn a_mariadb_that_does_not_prove_itself_or_has_no_tls_is_refused_with_a_reason_that_the_client_shows() {
    needs_capture!(Need::Tool("mariadbd"), Need::Tool("mariadb-install-db"), Need::Tool("mariadb"));
    let scene = Scene::new();
    let complain = |entry, told: &str| {
        let _sidestep = Sidestep::sidecar(&scene.client, &config(&scene.client, &[entry]));
        let asking = scene.client.app().start("mariadb", client("native", "secret", "127.0.0.1", &[]));
        assert!(!asking.end().success());
        let said = asking.stderr();
        assert!(
            said.contains("sidestep: no TLS connection to 10.77.0.2:3306") && said.contains(told),
            "{said}"
        );
    };
    {
        let _mariadb = mariadb(&scene.server, &scene.hosts, &TLS);
        let mut entry = scene.entry(PORT, "mysql");
        entry["server-name"] = json!("other.example.com");
        complain(entry, "not valid for name");
        let others = Hosts::new();
        let mut entry = scene.entry(PORT, "mysql");
        entry["ca"] = json!(others.bundle());
        complain(entry, "UnknownIssuer");
    }
    let _mariadb = mariadb(&scene.server, &scene.hosts, &["--skip-ssl"]);
    complain(scene.entry(PORT, "mysql"), "expected a server that speaks TLS, found one that offers none");
}
