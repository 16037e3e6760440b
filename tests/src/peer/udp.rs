//! Datagrams: they are never captured, and either pass or are refused.

use std::net::{SocketAddr, UdpSocket};

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::Event;
use super::socket::errno;
use crate::patience::patience;

#[derive(Debug, Args)]
pub(super) struct UdpEcho {
    /// Put in front of every answer
    #[arg(long)]
    name: String,
    /// Where to listen
    #[arg(long)]
    listen: SocketAddr,
}

impl UdpEcho {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let socket = UdpSocket::bind(self.listen).with_context(|| format!("listen on {}", self.listen))?;
        Event::Listening { address: socket.local_addr().context("getsockname")? }.emit();
        let mut buffer = [0; 2048];
        loop {
            let (count, from) = socket.recv_from(&mut buffer).context("recvfrom")?;
            let answer = format!("{} {}", self.name, String::from_utf8_lossy(&buffer[..count]));
            socket.send_to(answer.as_bytes(), from).context("sendto")?;
        }
    }
}

/// Whether the socket is connected before it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    Connected,
    Unconnected,
}

#[derive(Debug, Args)]
pub(super) struct UdpSend {
    /// Where to send to
    address: SocketAddr,
    /// What to send
    #[arg(long)]
    send: String,
    /// Whether to connect the socket first
    #[arg(long, value_enum, default_value = "connected")]
    mode: Mode,
    /// Do it so many times, whatever comes of it, and report the last
    #[arg(long, default_value_t = 1)]
    count: u32,
}

impl UdpSend {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let any: SocketAddr = if self.address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse()?;
        let socket = UdpSocket::bind(any).context("bind")?;
        socket.set_read_timeout(Some(patience())).context("set the timeout")?;
        let mut buffer = [0; 2048];
        let send = || match self.mode {
            Mode::Connected => socket.connect(self.address).and_then(|()| socket.send(self.send.as_bytes())),
            Mode::Unconnected => socket.send_to(self.send.as_bytes(), self.address),
        };
        for _ in 1..self.count {
            let _whatever_comes = send();
        }
        let exchanged = send().and_then(|_| socket.recv_from(&mut buffer));
        let peer = socket.peer_addr().ok();
        match exchanged {
            Ok((count, from)) => {
                let reply = String::from_utf8_lossy(&buffer[..count]).into_owned();
                Event::Datagram { reply, from: Some(from), peer, error: None }.emit();
            }
            Err(error) => {
                Event::Datagram { reply: String::new(), from: None, peer, error: Some(errno(&error)) }.emit();
            }
        }
        Ok(())
    }
}
