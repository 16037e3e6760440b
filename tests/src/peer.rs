//! The programs that talk in tests. Each reports what it sees as [`Event`]s, one JSON object per line, and judges
//! nothing that a test could judge.
//!
//! Threads and blocking calls throughout: a peer should behave as the plainest of programs does.

mod connect;
mod echo;
mod enter;
mod event;
mod flood;
mod foreign;
mod hold;
mod lend;
mod make;
mod mounts;
mod noise;
mod ping_pong;
mod socket;
mod storm;
mod transfer;
mod udp;

use clap::{Parser, Subcommand};

pub use event::{Dialled, Event, Transferred};

/// Command line of `sidestep-peer`.
#[derive(Debug, Parser)]
#[command(name = "sidestep-peer", about = "Peers for Sidestep's tests; each prints events as JSON lines")]
pub struct Peer {
    #[command(subcommand)]
    program: Program,
}

#[derive(Debug, Subcommand)]
enum Program {
    /// Join a cgroup and a network namespace, then become another program.
    Enter(enter::Enter),
    /// Answer TCP connections with a name, then with what they send.
    Echo(echo::Echo),
    /// Open one TCP connection, send, and read to the end.
    Connect(connect::Connect),
    /// Answer datagrams with a name and what they held.
    UdpEcho(udp::UdpEcho),
    /// Send one datagram and wait for its answer.
    UdpSend(udp::UdpSend),
    /// Make a TCP socket and hand it to whoever asks.
    Lend(lend::Lend),
    /// Make one socket of any kind.
    Socket(make::Make),
    /// Verify pseudo-random streams from whoever connects, and send as many.
    TransferListen(transfer::Listen),
    /// Exchange pseudo-random streams with random half-closes.
    Transfer(transfer::Dial),
    /// Accept connections, answer one byte each, and keep them until their peers close.
    Keep(hold::Keep),
    /// Open many connections, exchange one byte each, and hold them until standard input ends.
    Hold(hold::Hold),
    /// Accept one connection and read nothing until told to.
    Stall(flood::Stall),
    /// Write as much as the other side takes.
    Flood(flood::Flood),
    /// Connect, exchange and close many times.
    Storm(storm::Storm),
    /// Measure round trips on one connection.
    PingPong(ping_pong::PingPong),
    /// Answer connections with their original destination.
    OriginalDst(foreign::OriginalDst),
    /// Relay connections to their original destination, as a proxy does that knows nothing of Sidestep.
    ForeignProxy(foreign::ForeignProxy),
}

impl Peer {
    /// Runs the program to its end.
    ///
    /// # Errors
    /// When it cannot do what it is for. What goes wrong on a single connection is an event, not an error.
    pub fn run(self) -> anyhow::Result<()> {
        match self.program {
            Program::Enter(program) => program.run(),
            Program::Echo(program) => program.run(),
            Program::Connect(program) => program.run(),
            Program::UdpEcho(program) => program.run(),
            Program::UdpSend(program) => program.run(),
            Program::Lend(program) => program.run(),
            Program::Socket(program) => program.run(),
            Program::TransferListen(program) => program.run(),
            Program::Transfer(program) => program.run(),
            Program::Keep(program) => program.run(),
            Program::Hold(program) => program.run(),
            Program::Stall(program) => program.run(),
            Program::Flood(program) => program.run(),
            Program::Storm(program) => program.run(),
            Program::PingPong(program) => program.run(),
            Program::OriginalDst(program) => program.run(),
            Program::ForeignProxy(program) => program.run(),
        }
    }
}
