//! A socket of any kind, made and closed again: whether the kernel grants it is all that is asked.

use clap::{Args, ValueEnum};
use socket2::{Domain, Protocol, Socket, Type};

use super::Event;
use super::socket::errno;

/// Address families that networks carry, and the one below them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Family {
    Inet,
    Inet6,
    Packet,
}

/// `SOCK_…`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Stream,
    Datagram,
    Raw,
}

#[derive(Debug, Args)]
pub(super) struct Make {
    /// Its family
    #[arg(long, value_enum, default_value = "inet")]
    family: Family,
    /// Its type
    #[arg(long, value_enum)]
    kind: Kind,
    /// The number of its protocol
    #[arg(long)]
    protocol: i32,
}

impl Make {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let domain = match self.family {
            Family::Inet => Domain::IPV4,
            Family::Inet6 => Domain::IPV6,
            Family::Packet => Domain::PACKET,
        };
        let kind = match self.kind {
            Kind::Stream => Type::STREAM,
            Kind::Datagram => Type::DGRAM,
            Kind::Raw => Type::RAW,
        };
        let made = Socket::new(domain, kind, Some(Protocol::from(self.protocol)));
        Event::Made { error: made.err().as_ref().map(errno) }.emit();
        Ok(())
    }
}
