//! Databases behind an instance and in front of another: redis speaks when spoken to, PostgreSQL negotiates first,
//! MariaDB speaks before its client does.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sidestep_tests::{Config, Need, Pod, Sidestep, needs_capture};

use crate::ask::connect;

use super::server::{Server, answer, eventually_succeeds, hand_over, write};

/// Asks a server through two instances, and without capture before that until it is up.
fn asked_through_two_instances(
    client: &Pod,
    server: &Pod,
    port: u16,
    program: &str,
    arguments: &[&str],
) -> String {
    eventually_succeeds(client.app(), program, arguments);
    let near = Sidestep::sidecar(client, &Config::of(client));
    let far = Sidestep::sidecar(server, &Config::of(server));
    let printed = answer(client.app(), program, arguments);
    near.log.outbound(server.v4(port));
    far.log.inbound(server.v4(port));
    printed
}

/// redis on its own port, keeping nothing.
pub(super) fn redis(pod: &Pod) -> Server {
    Server::start(pod.app(), "redis-server", |directory| {
        let options = ["--bind", "0.0.0.0", "--protected-mode", "no", "--save", "", "--dir"];
        options.into_iter().map(str::to_owned).chain([directory.display().to_string()]).collect()
    })
}

#[test]
fn redis_answers_through_two_instances() {
    needs_capture!(Need::Tool("redis-server"), Need::Tool("redis-cli"));
    let (client, server) = Pod::pair();
    let _redis = redis(&server);
    let ask = ["-e", "-h", "10.77.0.2", "INCR", "asked"];
    let printed = asked_through_two_instances(&client, &server, 6379, "redis-cli", &ask);
    assert!(printed.parse::<u32>().is_ok_and(|count| count > 1), "{printed}");
}

#[test]
fn redis_benchmark_finishes_through_two_instances() {
    needs_capture!(Need::Tool("redis-server"), Need::Tool("redis-cli"), Need::Tool("redis-benchmark"));
    let (client, server) = Pod::pair();
    let _redis = redis(&server);
    eventually_succeeds(client.app(), "redis-cli", &["-e", "-h", "10.77.0.2", "PING"]);
    let load = ["-h", "10.77.0.2", "-t", "set,get", "-n", "20000", "-c", "20", "-P", "8", "--csv"];
    let printed = asked_through_two_instances(&client, &server, 6379, "redis-benchmark", &load);
    for test in ["SET", "GET"] {
        let rate = printed.lines().find_map(|line| line.strip_prefix(&format!("\"{test}\",\"")));
        let rate = rate.and_then(|rest| rest.split('"').next()?.parse::<f64>().ok());
        assert!(rate.is_some_and(|rate| rate > 0.0), "{test} in {printed}");
    }
}

/// MariaDB on its own port.
pub(super) fn mariadb(pod: &Pod) -> Server {
    Server::start(pod.app(), "mariadbd", |directory| {
        hand_over(directory, "mysql");
        let data = directory.display();
        let options = ["--no-defaults".to_owned(), "--user=mysql".to_owned(), format!("--datadir={data}")];
        let mut install = Command::new("mariadb-install-db");
        run(install.args(&options).args(["--auth-root-authentication-method=normal", "--skip-test-db"]));
        let mut arguments = Vec::from(options);
        arguments.extend([
            format!("--socket={data}/socket"),
            format!("--pid-file={data}/pid"),
            "--bind-address=0.0.0.0".to_owned(),
            "--skip-grant-tables".to_owned(),
            // A reverse lookup of the client would wait for a name server that a pod does not have.
            "--skip-name-resolve".to_owned(),
        ]);
        arguments
    })
}

#[test]
fn mariadb_speaks_first_through_two_instances() {
    needs_capture!(Need::Tool("mariadbd"), Need::Tool("mariadb-install-db"), Need::Tool("mariadb"));
    let (client, server) = Pod::pair();
    let _mariadb = mariadb(&server);
    let ask =
        ["--no-defaults", "--host=10.77.0.2", "--batch", "--skip-column-names", "--execute=select 6 * 7"];
    let printed = asked_through_two_instances(&client, &server, 3306, "mariadb", &ask);
    assert_eq!(printed, "42");
}

#[test]
fn the_greeting_of_mariadb_is_not_delayed() {
    needs_capture!(Need::Tool("mariadbd"), Need::Tool("mariadb-install-db"), Need::Tool("mariadb"));
    let (client, server) = Pod::pair();
    let _mariadb = mariadb(&server);
    eventually_succeeds(
        client.app(),
        "mariadb",
        &["--no-defaults", "--host=10.77.0.2", "--execute=select 1"],
    );
    let direct = median_greeting(&client, server.v4(3306));
    let near = Sidestep::sidecar(&client, &Config::of(&client));
    let far = Sidestep::sidecar(&server, &Config::of(&server));
    let captured = median_greeting(&client, server.v4(3306));
    near.log.outbound(server.v4(3306));
    far.log.inbound(server.v4(3306));
    // Two more hops take microseconds. A proxy that waits for the client to speak first takes a timeout.
    let bound = direct + Duration::from_millis(20);
    assert!(captured < bound, "the greeting took {captured:?} captured and {direct:?} direct");
}

/// Median time from `connect()` to the first byte that a silent client gets.
fn median_greeting(client: &Pod, address: SocketAddr) -> Duration {
    let mut times: Vec<u64> = (0..15)
        .map(|_| {
            let dialled = connect(client, &address.to_string());
            let greeting = dialled.first_byte_us.unwrap_or_else(|| panic!("no greeting: {dialled:?}"));
            assert!(dialled.read.contains("MariaDB"), "{dialled:?}");
            dialled.connect_us + greeting
        })
        .collect();
    times.sort_unstable();
    Duration::from_micros(times[times.len() / 2])
}

#[test]
fn postgresql_answers_through_two_instances() {
    needs_capture!(Need::Tool("psql"), Need::Tool("runuser"));
    let Some(binaries) = postgresql() else {
        // A client without its server: what is missing has a name in PATH nowhere.
        assert!(
            !sidestep_tests::need::met(&[Need::Tool("postgres")]),
            "postgres is in PATH but not where it is kept"
        );
        return;
    };
    let (client, server) = Pod::pair();
    let _postgresql = start_postgresql(&server, &binaries);
    let ask = ["-h", "10.77.0.2", "-U", "postgres", "-Atc", "select inet_client_addr(), 6 * 7"];
    let printed = asked_through_two_instances(&client, &server, 5432, "psql", &ask);
    assert_eq!(printed, "10.77.0.1|42", "PostgreSQL itself names its real client");
}

/// PostgreSQL on its own port, which lets everybody in.
pub(super) fn start_postgresql(pod: &Pod, binaries: &Path) -> Server {
    Server::start(pod.app(), "runuser", |directory| {
        hand_over(directory, "postgres");
        let data = directory.join("data").display().to_string();
        let [initdb, postgres] = ["initdb", "postgres"].map(|name| binaries.join(name).display().to_string());
        run(Command::new("runuser")
            .args(["-u", "postgres", "--", &initdb, "-A", "trust", "-D", &data])
            .current_dir("/"));
        write(&Path::new(&data).join("pg_hba.conf"), "host all all all trust\n");
        let socket = directory.display().to_string();
        let postgres = ["-u", "postgres", "--", &postgres, "-D", &data, "-h", "0.0.0.0", "-k", &socket, "-F"];
        postgres.map(str::to_owned).into()
    })
}

/// Where Debian keeps the server's programs, which are not in `PATH`.
pub(super) fn postgresql() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<PathBuf> = versions.flatten().map(|version| version.path().join("bin")).collect();
    found.retain(|binaries| binaries.join("postgres").is_file());
    found.sort();
    found.pop()
}

pub(super) fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("run {command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
