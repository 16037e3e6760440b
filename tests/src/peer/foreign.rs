//! A proxy that knows nothing of Sidestep: it asks the socket option of netfilter for the original destination,
//! as Envoy does.

use std::io;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};

use clap::Args;
use socket2::SockRef;

use super::Event;
use super::socket::{Transport, accept_all, errno, listen, spawn_small};

/// SO_ORIGINAL_DST or IP6T_SO_ORIGINAL_DST, by the family of the socket.
fn original_destination(stream: &TcpStream) -> io::Result<SocketAddr> {
    let socket = SockRef::from(stream);
    let original = match stream.local_addr()? {
        SocketAddr::V4(_) => socket.original_dst_v4(),
        SocketAddr::V6(_) => socket.original_dst_v6(),
    }?;
    original.as_socket().ok_or_else(|| io::Error::other("the original destination is no IP address"))
}

/// Accepts on a port of both families and reports every original destination.
fn serve(port: u16, with: impl Fn(TcpStream, SocketAddr) + Send + Clone + 'static) -> anyhow::Result<()> {
    let any = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    let listeners = any.map(|address| listen(SocketAddr::new(address, port), Transport::Tcp));
    accept_all(listeners.into_iter().collect::<anyhow::Result<_>>()?, move |stream, returned| {
        let found = original_destination(&stream);
        let error = found.as_ref().err().map(errno);
        let original = found.ok();
        Event::OriginalDestination { returned, original, error }.emit();
        if let Some(original) = original {
            let with = with.clone();
            if let Err(error) = spawn_small(move || with(stream, original)) {
                eprintln!("no thread for {returned}: {error}");
            }
        }
    })
}

#[derive(Debug, Args)]
pub(super) struct OriginalDst {
    /// Port to listen on, IPv4 and IPv6
    #[arg(long)]
    port: u16,
}

impl OriginalDst {
    pub(super) fn run(self) -> anyhow::Result<()> {
        serve(self.port, |mut stream, original| {
            let answered = writeln!(stream, "{original}").and_then(|()| stream.shutdown(Shutdown::Write));
            // Reads what the client still sends, because closing before would reset the answer away.
            if let Err(error) = answered.and_then(|()| io::copy(&mut stream, &mut io::sink()).map(drop)) {
                eprintln!("answer about {original}: {error}");
            }
        })
    }
}

#[derive(Debug, Args)]
pub(super) struct ForeignProxy {
    /// Port to listen on, IPv4 and IPv6
    #[arg(long)]
    port: u16,
}

impl ForeignProxy {
    pub(super) fn run(self) -> anyhow::Result<()> {
        serve(self.port, |stream, original| {
            let relayed = TcpStream::connect(original).and_then(|upstream| relay(&stream, &upstream));
            if let Err(error) = relayed {
                eprintln!("relay to {original}: {error}");
            }
        })
    }
}

fn relay(client: &TcpStream, upstream: &TcpStream) -> io::Result<()> {
    let carry = |mut from: &TcpStream, mut to: &TcpStream| {
        io::copy(&mut from, &mut to)?;
        to.shutdown(Shutdown::Write)
    };
    std::thread::scope(|scope| {
        let up = scope.spawn(|| carry(client, upstream));
        let down = carry(upstream, client);
        up.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).and(down)
    })
}
