//! nginx behind an instance, curl and wrk in front of another.

use sidestep_tests::patience::eventually;
use sidestep_tests::sidestep::VERDICTS;
use sidestep_tests::{Config, Need, Pod, Sidestep, needs_capture, sidestep};

use super::server::{Server, answer, eventually_succeeds, write};

pub(super) const PAGE: &str = "nginx was here";

/// nginx on port 8080 of both families.
pub(super) fn nginx(pod: &Pod) -> Server {
    nginx_on(pod, 8080)
}

/// nginx on a port of both families, with the files of its directory below `/files/`.
pub(super) fn nginx_on(pod: &Pod, port: u16) -> Server {
    let server = Server::start(pod.app(), "nginx", |directory| {
        let root = directory.display();
        write(
            &directory.join("nginx.conf"),
            &format!(
                "daemon off; user root; worker_processes 1; pid {root}/pid; error_log stderr;\n\
                 events {{ worker_connections 1024; }}\n\
                 http {{\n\
                   log_format peer '$remote_addr $remote_port $server_addr';\n\
                   access_log {root}/access.log peer;\n\
                   client_body_temp_path {root}; proxy_temp_path {root}; fastcgi_temp_path {root};\n\
                   uwsgi_temp_path {root}; scgi_temp_path {root};\n\
                   server {{\n\
                     listen {port}; listen [::]:{port};\n\
                     location / {{ return 200 '{PAGE}'; }}\n\
                     location /files/ {{ alias {root}/; }}\n\
                   }}\n\
                 }}\n"
            ),
        );
        ["-p", &root.to_string(), "-c", "nginx.conf"].map(str::to_owned).into()
    });
    // From the sidecar's cgroup, which no instance captures.
    eventually_succeeds(pod.sidecar(), "curl", &["-sSf".to_owned(), format!("http://{}/", pod.v4(port))]);
    server
}

fn last_line(server: &Server, client: &str) -> String {
    eventually(&format!("nginx logs a request from {client}"), || {
        let log = server.file("access.log");
        log.lines().rev().find(|line| line.starts_with(client)).map(str::to_owned).ok_or(log)
    })
}

#[test]
fn nginx_logs_the_real_address_of_curl_through_two_instances() {
    needs_capture!(Need::Tool("nginx"), Need::Tool("curl"), Need::Ipv6);
    let (client, server) = Pod::pair();
    let nginx = nginx(&server);
    let near = Sidestep::sidecar(&client, &Config::of(&client));
    let far = Sidestep::sidecar(&server, &Config::of(&server));
    for (from, to) in [(client.v4(0).ip(), server.v4(8080)), (client.v6(0).ip(), server.v6(8080))] {
        let url = format!("http://{to}/");
        let asked = ["-sSfg", "-w", "\n%{remote_ip} %{local_ip}", &url];
        let printed = answer(client.app(), "curl", asked);
        assert_eq!(printed, format!("{PAGE}\n{} {from}", to.ip()));
        let source = far.log.inbound(to).source;
        let logged = last_line(&nginx, &from.to_string());
        assert_eq!(Some(logged), source.map(|source| format!("{from} {} {}", source.port(), to.ip())));
        near.log.outbound(to);
    }
}

#[test]
fn curl_under_run_is_captured() {
    needs_capture!(Need::Tool("nginx"), Need::Tool("curl"));
    let (client, server) = Pod::pair();
    let _nginx = nginx(&server);
    let url = format!("http://{}/", server.v4(8080));
    let run = sidestep::run(client.app(), "", &["curl", "-sSf", &url]);
    run.process.succeed();
    assert_eq!(run.process.stdout(), [PAGE]);
    run.log.outbound(server.v4(8080));
    let denied = sidestep::run(client.app(), "--deny 10.77.0.2:8080", &["curl", "-sS", &url]);
    // curl's own number for "failed to connect".
    assert_eq!(denied.process.end().code(), Some(7));
}

#[test]
fn wrk_sees_no_errors_through_two_instances() {
    needs_capture!(Need::Tool("nginx"), Need::Tool("curl"), Need::Tool("wrk"));
    let (client, server) = Pod::pair();
    let _nginx = nginx(&server);
    let near = Sidestep::sidecar(&client, &Config::of(&client));
    let far = Sidestep::sidecar(&server, &Config::of(&server));
    let url = format!("http://{}/", server.v4(8080));
    let report = answer(client.app(), "wrk", ["-t", "1", "-c", "32", "-d", "3", &url]);
    assert!(report.contains("Requests/sec"), "{report}");
    assert!(!report.contains("Socket errors") && !report.contains("Non-2xx"), "{report}");
    near.counted("outbound", "proxy", "default", 32);
    assert!(far.metric(VERDICTS, &[("direction", "inbound"), ("verdict", "proxy")]) >= 32.0);
}
