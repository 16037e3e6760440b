//! Notices that nothing moved for a while, without looking at a clock when something does.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::{Broken, End};

/// How many times per timeout a connection is looked at. It may stand idle for one such part longer than asked.
const LOOKS: u32 = 4;

/// The idle timeout of one connection.
pub(in crate::proxy) struct Idle<'a> {
    look: Pin<&'a mut Sleep>,
    timeout: Duration,
    seen: u64,
    quiet: u32,
}

impl<'a> Idle<'a> {
    /// Runs out after `timeout`; `look` is the timer to use.
    pub(in crate::proxy) fn new(timeout: Duration, mut look: Pin<&'a mut Sleep>) -> Self {
        look.as_mut().reset(Instant::now() + timeout / LOOKS);
        Self { look, timeout, seen: 0, quiet: 0 }
    }

    /// Ready when the sum of bytes `moved` has not changed for the whole timeout.
    pub(in crate::proxy) fn poll(&mut self, moved: u64, context: &mut Context<'_>) -> Poll<Broken> {
        loop {
            ready!(self.look.as_mut().poll(context));
            if moved == self.seen {
                self.quiet += 1;
            } else {
                self.seen = moved;
                self.quiet = 0;
            }
            if self.quiet == LOOKS {
                let waited = self.timeout;
                return Poll::Ready(Broken {
                    end: End::Neither,
                    doing: "relay",
                    source: io::Error::new(
                        io::ErrorKind::TimedOut,
                        format!("no byte either way for {waited:?} (relay.idle-timeout)"),
                    ),
                });
            }
            let next = Instant::now() + self.timeout / LOOKS;
            self.look.as_mut().reset(next);
        }
    }
}
