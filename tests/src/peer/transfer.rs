//! Streams both ways at once, verified byte for byte, with half-closes at random moments.
//!
//! The dialling side chooses the plan of every connection from a seed and tells it in a header of four
//! little-endian words: seed, bytes up, bytes down, order.

use std::io;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc;

use clap::Args;

use super::noise::{Noise, send, verify};
use super::socket::{Target, Transport, accept_all, errno, listen, spawn_small};
use super::{Event, Transferred};

/// Which side closes its sending half while the other has not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Both send at once.
    Together,
    /// The accepting side sends only after the dialling side has half-closed.
    DiallerFirst,
    /// The dialling side sends only after the accepting side has half-closed.
    AcceptorFirst,
}

impl Order {
    const fn of(number: u64) -> Self {
        match number % 3 {
            0 => Self::Together,
            1 => Self::DiallerFirst,
            _ => Self::AcceptorFirst,
        }
    }
}

/// What one connection carries.
#[derive(Clone, Copy, Debug)]
struct Plan {
    seed: u64,
    up: u64,
    down: u64,
    order: u64,
}

impl Plan {
    const BYTES: usize = 32;

    fn encode(self) -> [u8; Self::BYTES] {
        let mut header = [0; Self::BYTES];
        for (field, word) in header.chunks_exact_mut(8).zip([self.seed, self.up, self.down, self.order]) {
            field.copy_from_slice(&word.to_le_bytes());
        }
        header
    }

    fn decode(header: [u8; Self::BYTES]) -> Self {
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| header[at * 8 + byte]));
        Self { seed: word(0), up: word(1), down: word(2), order: word(3) }
    }
}

/// One side's part of a plan.
struct Part {
    send_seed: u64,
    send_bytes: u64,
    receive_seed: u64,
    receive_bytes: u64,
    begin: Begin,
}

/// When a side begins to send.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begin {
    AtOnce,
    AfterTheOtherEnded,
}

/// Sends and verifies at once, each on its own thread.
fn exchange(stream: &TcpStream, part: &Part) -> Transferred {
    let (ended, other_ended) = mpsc::channel::<()>();
    let mut received = 0;
    let mut sent = 0;
    let (writing, reading) = std::thread::scope(|scope| {
        let sent = &mut sent;
        let writer = scope.spawn(move || -> io::Result<()> {
            if part.begin == Begin::AfterTheOtherEnded {
                // An error means that the reader is gone, which ends the wait as well.
                let _ = other_ended.recv();
            }
            let mut sink = stream;
            send(&mut sink, part.send_seed, part.send_bytes, |total| *sent = total)?;
            stream.shutdown(Shutdown::Write)
        });
        let reading = verify(&mut &*stream, part.receive_seed, |total| received = total);
        drop(ended);
        let writing = writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (writing, reading)
    });
    let short = || {
        (received != part.receive_bytes)
            .then(|| format!("expected {} bytes, found {received}", part.receive_bytes))
    };
    let fault = reading.err().or(writing.err()).map_or_else(short, |error| Some(errno(&error)));
    Transferred { sent, received, fault }
}

#[derive(Debug, Args)]
pub(super) struct Listen {
    /// Where to listen
    #[arg(long)]
    listen: SocketAddr,
}

impl Listen {
    pub(super) fn run(self) -> anyhow::Result<()> {
        accept_all(vec![listen(self.listen, Transport::Tcp)?], |stream, returned| {
            let served = spawn_small(move || {
                let mut header = [0; Plan::BYTES];
                let transferred = match (&stream).read_exact(&mut header) {
                    Err(error) => Transferred { sent: 0, received: 0, fault: Some(errno(&error)) },
                    Ok(()) => {
                        let plan = Plan::decode(header);
                        let begin = match Order::of(plan.order) {
                            Order::DiallerFirst => Begin::AfterTheOtherEnded,
                            Order::Together | Order::AcceptorFirst => Begin::AtOnce,
                        };
                        let part = Part {
                            send_seed: !plan.seed,
                            send_bytes: plan.down,
                            receive_seed: plan.seed,
                            receive_bytes: plan.up,
                            begin,
                        };
                        exchange(&stream, &part)
                    }
                };
                Event::Transferred(transferred).emit();
            });
            if let Err(error) = served {
                eprintln!("no thread for {returned}: {error}");
            }
        })
    }
}

#[derive(Debug, Args)]
pub(super) struct Dial {
    #[command(flatten)]
    target: Target,
    /// Bytes each way in the first round; in later rounds a random number up to it
    #[arg(long)]
    bytes: u64,
    /// Connections, one after the other
    #[arg(long, default_value_t = 1)]
    rounds: u64,
    /// Where the randomness comes from
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Dial {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let mut noise = Noise::new(self.seed);
        for round in 0..self.rounds {
            let (up, down) = match round {
                0 => (self.bytes, self.bytes),
                _ => (noise.up_to(self.bytes), noise.up_to(self.bytes)),
            };
            let plan =
                Plan { seed: noise.next(), up, down, order: if round == 0 { 0 } else { noise.next() } };
            let transferred = self.round(plan).unwrap_or_else(|error| Transferred {
                sent: 0,
                received: 0,
                fault: Some(errno(&error)),
            });
            Event::Transferred(transferred).emit();
        }
        Ok(())
    }

    fn round(&self, plan: Plan) -> io::Result<Transferred> {
        let (mut stream, _) = self.target.dial(&[]).0?;
        stream.write_all(&plan.encode())?;
        let begin = match Order::of(plan.order) {
            Order::AcceptorFirst => Begin::AfterTheOtherEnded,
            Order::Together | Order::DiallerFirst => Begin::AtOnce,
        };
        let part = Part {
            send_seed: plan.seed,
            send_bytes: plan.up,
            receive_seed: !plan.seed,
            receive_bytes: plan.down,
            begin,
        };
        Ok(exchange(&stream, &part))
    }
}
