//! A real nginx as the server's app: its own configuration, its own log, nothing of the machine's.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::lab::{Lab, Pod, Program};

/// What it answers with.
pub(super) const GREETING: &str = "hello from nginx in the server's app cgroup";

/// A running nginx.
#[derive(Debug)]
pub(super) struct Nginx {
    /// Ends it when dropped; its worker goes with the pod's cgroup.
    program: Program,
    access_log: PathBuf,
    traces: PathBuf,
}

impl Nginx {
    /// Starts it on every address of `pod` and the given ports.
    pub(super) fn start(lab: &Lab, pod: &Pod, ports: &[u16]) -> Result<Self> {
        let home = lab.file("nginx");
        fs::create_dir(&home).with_context(|| format!("create {}", home.display()))?;
        let configuration = home.join("nginx.conf");
        fs::write(&configuration, configured(&home.display().to_string(), ports))
            .with_context(|| format!("write {}", configuration.display()))?;
        let mut command = pod.app("nginx");
        // -e and -p: or it would open the machine's own log before it has read where ours is.
        command.arg("-p").arg(&home).arg("-e").arg(home.join("error.log")).arg("-c").arg(&configuration);
        let program = Program::start("nginx", command, lab.file("nginx.log"))?;
        Ok(Self { program, access_log: home.join("access.log"), traces: home.join("traces.log") })
    }

    /// Fails if it has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        self.program.check()
    }

    /// The line of its log about a path that was asked for, if it is there.
    pub(super) fn line_about(&self, path: &str) -> Option<String> {
        let log = fs::read_to_string(&self.access_log).unwrap_or_default();
        log.lines().find(|line| line.contains(&format!("\"GET {path} "))).map(str::to_owned)
    }

    /// The `traceparent` that it was sent with the request for a path, if that has been answered.
    pub(super) fn parent_of(&self, path: &str) -> Option<String> {
        let log = fs::read_to_string(&self.traces).unwrap_or_default();
        log.lines().find_map(|line| line.strip_prefix(path)?.strip_prefix(' ').map(str::to_owned))
    }
}

fn configured(home: &str, ports: &[u16]) -> String {
    let listen: String = ports
        .iter()
        .map(|port| format!("    listen {port};\n    listen [::]:{port} ipv6only=on;\n"))
        .collect();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("  {kind}_temp_path {home}/{kind};\n"))
        .concat();
    format!(
        "daemon off;\nuser root;\nworker_processes 1;\npid {home}/pid;\nerror_log {home}/error.log;\n\
         events {{ worker_connections 64; }}\n\
         http {{\n{temporary}  \
         log_format seen '$remote_addr -> $server_addr:$server_port \"$request\" $status';\n  \
         access_log {home}/access.log seen;\n  \
         log_format told '$request_uri $http_traceparent';\n  \
         access_log {home}/traces.log told;\n  \
         server {{\n{listen}    location / {{ return 200 \"{GREETING}\\n\"; }}\n    \
         location /missing {{ return 404; }}\n  }}\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_is_listened_on_in_both_families() {
        let text = configured("/t", &[8080, 8081]);
        for line in ["listen 8080;", "listen [::]:8080 ipv6only=on;", "listen 8081;", "pid /t/pid;"] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert_eq!(text.matches('{').count(), text.matches('}').count());
    }
}
