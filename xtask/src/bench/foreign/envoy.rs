//! Envoy, with one worker thread beside its main one.

use anyhow::{Context, Result};

use super::{Home, PORT, Plan};
use crate::setup;
use crate::workspace::Workspace;

/// It carries bytes.
pub(super) const TCP: &str = include_str!("envoy-tcp.yaml");
/// It reads requests.
pub(super) const HTTP: &str = include_str!("envoy-http.yaml");

pub(super) fn plan(home: &Home, configuration: &str) -> Result<Plan> {
    command(&home.write("envoy.yaml", configuration)?, vec![PORT])
}

/// What every Envoy is started with.
pub(super) fn command(file: &str, ports: Vec<u16>) -> Result<Plan> {
    let program = setup::envoy_binary(&Workspace::locate()?)
        .context("Envoy is not installed: `cargo xtask setup` installs it")?;
    // Hot restart would keep a shared memory that two Envoys on one machine would quarrel about.
    let arguments =
        ["--config-path", file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"];
    Ok(Plan { program, arguments: arguments.map(str::to_owned).into(), ports })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envoy_listens_where_connections_are_redirected_to_and_asks_where_they_wanted_to_go() {
        for configuration in [TCP, HTTP] {
            for word in [&format!("port_value: {PORT} "), "type: ORIGINAL_DST", "listener.original_dst"] {
                assert!(configuration.contains(word), "{word} in {configuration}");
            }
            assert!(!configuration.contains("access_log:"), "{configuration}");
        }
    }
}
