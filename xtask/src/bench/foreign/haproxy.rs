//! HAProxy, one process with one thread.

use anyhow::Result;

use super::{Home, PORT, Plan, installed};

const CONFIGURATION: &str = include_str!("haproxy.cfg");

pub(super) fn plan(home: &Home) -> Result<Plan> {
    let program = installed("haproxy")?;
    let file = home.write("haproxy.cfg", CONFIGURATION)?;
    // -db: in the foreground, without a master.
    let arguments = ["-db", "-f", &file].map(str::to_owned).into();
    Ok(Plan { program, arguments, ports: vec![PORT] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn haproxy_listens_where_connections_are_redirected_to() {
        assert!(CONFIGURATION.contains(&format!("bind 0.0.0.0:{PORT} ")), "{CONFIGURATION}");
    }
}
