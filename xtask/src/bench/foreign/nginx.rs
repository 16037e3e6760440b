//! nginx with its stream module: a master and one worker, and a listener for each port of the server.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result};

use super::{Home, Plan, installed};
use crate::setup::NGINX_STREAM;

const CONFIGURATION: &str = include_str!("nginx.conf");

pub(super) fn plan(home: &Home, server: &[SocketAddr]) -> Result<Plan> {
    let program = installed("nginx")?;
    let module = NGINX_STREAM.into_iter().find(|place| Path::new(place).exists());
    let module = module.context("nginx has no stream module: `cargo xtask setup` installs it")?;
    home.write("nginx.conf", &configured(module, server))?;
    let home = home.path.display();
    // -e: or it would open the machine's own log before it has read where ours is.
    let arguments = ["-p".to_owned(), format!("{home}/"), "-e".to_owned(), "stderr".to_owned()];
    let file = ["-c".to_owned(), format!("{home}/nginx.conf")];
    let ports = server.iter().map(SocketAddr::port).collect();
    Ok(Plan { program, arguments: arguments.into_iter().chain(file).collect(), ports })
}

fn configured(module: &str, server: &[SocketAddr]) -> String {
    let servers: Vec<String> = server
        .iter()
        .map(|address| {
            let port = address.port();
            format!("    server {{ listen 0.0.0.0:{port} backlog=4096; proxy_pass {address}; }}")
        })
        .collect();
    CONFIGURATION
        .replace("@LOAD_STREAM@", &format!("load_module {module};"))
        .replace("@SERVERS@", &servers.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_of_the_server_is_listened_on_and_leads_to_it() {
        let server = [7001, 7002].map(|port| SocketAddr::from(([10, 78, 0, 2], port)));
        let text = configured("/m/stream.so", &server);
        for line in [
            "load_module /m/stream.so;",
            "    server { listen 0.0.0.0:7001 backlog=4096; proxy_pass 10.78.0.2:7001; }",
            "    server { listen 0.0.0.0:7002 backlog=4096; proxy_pass 10.78.0.2:7002; }",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(!text.contains('@'), "{text}");
        assert_eq!(text.matches('{').count(), text.matches('}').count());
    }
}
