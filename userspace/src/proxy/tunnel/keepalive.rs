//! Whether the other end of a tunnel still lives, and how long the tunnel has carried nothing.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::terms::{PING_PATIENCE, PING_PERIOD};
use super::{fault, of_h2};

/// Pings, one at a time.
pub(super) struct Keepalive {
    /// Absent if somebody else has taken the connection's pings, which nobody does.
    pings: Option<PingPong>,
    ticks: Interval,
    /// When the ping was sent whose answer is awaited.
    awaited: Option<Instant>,
}

impl Keepalive {
    pub(super) fn new(pings: Option<PingPong>) -> Self {
        let mut ticks = interval_at(Instant::now() + PING_PERIOD, PING_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { pings, ticks, awaited: None }
    }

    /// Ready with an error once the other end has not answered in time, or the connection is gone.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            if let (Some(pings), Some(_)) = (&mut self.pings, self.awaited)
                && let Poll::Ready(pong) = pings.poll_pong(context)
            {
                if let Err(error) = pong {
                    return Poll::Ready(of_h2(error));
                }
                self.awaited = None;
            }
            if self.ticks.poll_tick(context).is_pending() {
                return Poll::Pending;
            }
            match self.awaited {
                Some(since) if since.elapsed() >= PING_PATIENCE => {
                    return Poll::Ready(silent(since.elapsed()));
                }
                Some(_) => {}
                None => {
                    if let Some(pings) = &mut self.pings {
                        if let Err(error) = pings.send_ping(Ping::opaque()) {
                            return Poll::Ready(of_h2(error));
                        }
                        self.awaited = Some(Instant::now());
                    }
                }
            }
        }
    }
}

fn silent(since: Duration) -> io::Error {
    fault(
        io::ErrorKind::TimedOut,
        format!("the other end of the tunnel has not answered a ping for {} s", since.as_secs()),
    )
}
