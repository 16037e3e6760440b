//! HAProxy, one process with one thread.

use anyhow::Result;

use super::{Home, PORT, Plan, installed};

/// It carries bytes.
pub(super) const TCP: &str = include_str!("haproxy.cfg");
/// It reads requests and logs them.
pub(super) const HTTP: &str = include_str!("haproxy-http.cfg");

pub(super) fn plan(home: &Home, configuration: &str) -> Result<Plan> {
    let program = installed("haproxy")?;
    let file = home.write("haproxy.cfg", configuration)?;
    // -db: in the foreground, without a master.
    let arguments = ["-db", "-f", &file].map(str::to_owned).into();
    Ok(Plan { program, arguments, ports: vec![PORT] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn haproxy_listens_where_connections_are_redirected_to() {
        for configuration in [TCP, HTTP] {
            assert!(configuration.contains(&format!("bind 0.0.0.0:{PORT} ")), "{configuration}");
        }
    }
}
