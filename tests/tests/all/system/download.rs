//! What HTTP/1.1 clients rely on: connections that are kept, and files that arrive as they were sent.

use std::fs::File;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;

use sidestep_tests::{Config, Need, Pod, Sidestep, needs_capture};

use super::server::answer;
use super::web::{PAGE, nginx};

/// Large enough to fill every buffer on the way many times.
const FILE_BYTES: u64 = 100_000_000;

#[test]
fn a_kept_connection_carries_several_requests_and_is_one_line_in_the_log() {
    needs_capture!(Need::Tool("nginx"), Need::Tool("curl"), Need::Ipv6);
    let (client, server) = Pod::pair();
    let _nginx = nginx(&server);
    let near = Sidestep::sidecar(&client, &Config::of(&client));
    let far = Sidestep::sidecar(&server, &Config::of(&server));
    for to in [server.v4(8080), server.v6(8080)] {
        let url = format!("http://{to}/");
        let asked = ["-sSfg", "--http1.1", "-w", "\n%{num_connects} %{http_version}\n", &url, &url, &url];
        let printed = answer(client.app(), "curl", asked);
        assert_eq!(printed, format!("{PAGE}\n1 1.1\n{PAGE}\n0 1.1\n{PAGE}\n0 1.1"));
        let (sent, received) = (near.log.outbound(to), far.log.inbound(to));
        assert_eq!((sent.tier.as_str(), sent.error), ("relay", None));
        assert_eq!((sent.bytes_sent, sent.bytes_received), (received.bytes_sent, received.bytes_received));
        assert_eq!(near.log.lines().iter().filter(|line| line.original_destination == Some(to)).count(), 1);
    }
}

#[test]
fn a_large_download_arrives_as_it_was_sent() {
    needs_capture!(Need::Tool("nginx"), Need::Tool("curl"), Need::Tool("sha256sum"), Need::Ipv6);
    let (client, server) = Pod::pair();
    let nginx = nginx(&server);
    let file = nginx.path().join("large");
    write_noise(&file);
    let sent = checksum(&client, &file);
    let near = Sidestep::sidecar(&client, &Config::of(&client));
    let far = Sidestep::sidecar(&server, &Config::of(&server));
    let copy = nginx.path().join("copy");
    for to in [server.v4(8080), server.v6(8080)] {
        let (target, url) = (copy.display().to_string(), format!("http://{to}/files/large"));
        answer(client.app(), "curl", ["-sSfg", "-o", &target, &url]);
        assert_eq!(checksum(&client, &copy), sent, "from {to}");
        assert!(logged(&near, &far, to) >= FILE_BYTES);
    }
}

/// Bytes that came back over the one connection to `to`, on which both instances agree.
fn logged(near: &Sidestep<'_>, far: &Sidestep<'_>, to: SocketAddr) -> u64 {
    let bytes = near.log.outbound(to).bytes_received;
    assert_eq!(far.log.inbound(to).bytes_received, bytes);
    bytes
}

/// Fills a file with what no compression and no lucky repetition can hide an error in.
fn write_noise(file: &Path) {
    let copied = File::open("/dev/urandom").and_then(|noise| {
        let mut file = File::create(file)?;
        std::io::copy(&mut noise.take(FILE_BYTES), &mut file)?;
        file.flush()
    });
    copied.unwrap_or_else(|error| panic!("fill {}: {error}", file.display()));
}

fn checksum(pod: &Pod, file: &Path) -> String {
    let printed = answer(pod.app(), "sha256sum", [file]);
    printed.split(' ').next().unwrap_or_default().to_owned()
}
