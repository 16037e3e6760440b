//! The open loop: requests have their times, whatever becomes of those before them.
//!
//! Latency counts from the time a request was due, not from when it could be sent: a client that waited for a slow server
//! before it asks again would leave out just the requests that had to wait (coordinated omission). Times are evenly
//! spaced. What is due while all connections are busy waits in a queue.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::super::answer::Answer;
use super::super::effort::{Counted, Ready, nanoseconds_since};
use super::super::latencies::Latencies;
use super::super::poller::{Notices, Poller, Until};
use super::closed::warm_up;
use super::connection::Connection;

/// `count` requests over that many connections, `rate` of them per second.
pub(in super::super) fn open_loop(
    to: SocketAddr,
    connections: usize,
    rate: f64,
    count: usize,
    ready: Ready,
) -> Result<Answer> {
    ensure!(rate.is_finite() && rate > 0.0, "expected a rate above 0 per second, found {rate}");
    let poller = Poller::new()?;
    let mut open = Connection::open(to, connections, &poller)?;
    warm_up(&mut open, &poller)?;
    let clock = Clock::new(&poller, connections)?;
    let counted = Counted::begin(ready)?;
    let mut requests = Requests::plan(count, Duration::from_secs_f64(rate.recip()), connections);
    clock.tick_every(requests.interval)?;
    requests.make(&mut open, &poller, &clock)?;
    let Requests { wholes, lags, bytes, .. } = requests;
    let answer = Answer::connected(connections, wholes, bytes, counted.end()?)?;
    Ok(Answer { lag: Some(Latencies::of(lags)?), ..answer })
}

/// Requests that are due at their times.
#[derive(Debug)]
struct Requests {
    began: Instant,
    interval: Duration,
    count: usize,
    /// How many have been due.
    due: usize,
    /// When those were due that wait, in nanoseconds after the beginning, the oldest first.
    waiting: VecDeque<u64>,
    /// Numbers of connections that wait for nothing.
    idle: Vec<usize>,
    /// When the request was due that a connection carries.
    carried: Vec<u64>,
    wholes: Vec<u64>,
    lags: Vec<u64>,
    bytes: u64,
}

impl Requests {
    fn plan(count: usize, interval: Duration, connections: usize) -> Self {
        Self {
            began: Instant::now(),
            interval,
            count,
            due: 0,
            waiting: VecDeque::new(),
            idle: (0..connections).collect(),
            carried: vec![0; connections],
            wholes: Vec::with_capacity(count),
            lags: Vec::with_capacity(count),
            bytes: 0,
        }
    }

    fn make(&mut self, open: &mut [Connection], poller: &Poller, clock: &Clock) -> Result<()> {
        let mut notices = Notices::new();
        while self.wholes.len() < self.count {
            poller.wait(&mut notices)?;
            for number in notices.numbers() {
                if number == clock.number {
                    clock.acknowledge()?;
                } else if let Some(bytes) = open[number].hear()? {
                    self.wholes.push(nanoseconds_since(self.began) - self.carried[number]);
                    self.bytes += bytes;
                    self.idle.push(number);
                }
            }
            if self.queue(nanoseconds_since(self.began)) == Schedule::Over {
                clock.stop()?;
            }
            while let Some(number) = self.next() {
                open[number].ask()?;
            }
        }
        Ok(())
    }

    /// Queues what is due by now.
    fn queue(&mut self, now: u64) -> Schedule {
        if self.due == self.count {
            return Schedule::GoesOn;
        }
        let interval = self.interval.as_nanos() as u64;
        while self.due < self.count {
            let at = interval * (self.due as u64 + 1);
            if at > now {
                return Schedule::GoesOn;
            }
            self.lags.push(now - at);
            self.waiting.push_back(at);
            self.due += 1;
        }
        Schedule::Over
    }

    /// The connection that is to carry the oldest request that waits.
    fn next(&mut self) -> Option<usize> {
        let number = *self.idle.last()?;
        self.carried[number] = self.waiting.pop_front()?;
        self.idle.pop()
    }
}

/// Whether there are requests that have yet to be due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Schedule {
    GoesOn,
    /// Just now the last one was due.
    Over,
}

/// A timer among the sockets. It wakes to the nanosecond that it was set to: a timer descriptor knows none of the slack
/// (prctl(2), `PR_SET_TIMERSLACK`) that the limits of waiting calls have.
#[derive(Debug)]
struct Clock {
    timer: TimerFd,
    number: usize,
}

impl Clock {
    fn new(poller: &Poller, number: usize) -> Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags).context("make a timer")?;
        poller.watch(&timer, number, Until::Readable)?;
        Ok(Self { timer, number })
    }

    fn tick_every(&self, interval: Duration) -> Result<()> {
        let expiration = Expiration::Interval(interval.into());
        self.timer.set(expiration, TimerSetTimeFlags::empty()).context("set a timer")
    }

    fn acknowledge(&self) -> Result<()> {
        match self.timer.wait() {
            Ok(()) | Err(Errno::EAGAIN) => Ok(()),
            Err(error) => Err(error).context("read a timer"),
        }
    }

    fn stop(&self) -> Result<()> {
        self.timer.unset().context("stop a timer")
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    use super::super::super::effort::Limit;
    use super::super::super::testing::{address, listener, no_wait};
    use super::super::{RESPONSE, closed_loop, message, serve};
    use super::*;

    /// How long the server stalls, once.
    const STALL: Duration = Duration::from_millis(200);
    /// Before this request of a connection.
    const BEFORE: usize = 150;

    fn serve_with_a_stall(listener: &TcpListener) {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer_with_a_stall(stream));
        }
    }

    fn answer_with_a_stall(mut stream: TcpStream) {
        let (mut received, mut chunk) = (Vec::new(), [0; 1024]);
        for answered in 0.. {
            while message::request(&received).unwrap().is_none() {
                let length = stream.read(&mut chunk).unwrap_or(0);
                if length == 0 {
                    return;
                }
                received.extend_from_slice(&chunk[..length]);
            }
            received.clear();
            if answered == BEFORE {
                thread::sleep(STALL);
            }
            stream.write_all(RESPONSE).unwrap();
        }
    }

    #[test]
    fn a_stall_is_felt_by_all_that_were_due_in_it() {
        let listener = listener();
        let to = address(&listener);
        thread::spawn(move || serve_with_a_stall(&listener));
        let half = STALL.as_nanos() as u64 / 2;
        // A thousand per second: two hundred of six hundred were due during the stall, a hundred in its first half.
        let open = open_loop(to, 1, 1_000.0, 600, no_wait).unwrap();
        assert!(open.whole.quantile(0.9) > half, "{:?}", open.whole.summary());
        // Who asks only when it has its answer feels one slow request, and says that all is well.
        let closed = closed_loop(to, 1, Limit::of(600), no_wait).unwrap();
        assert!(
            closed.whole.quantile(0.9) < half && closed.whole.max() > half,
            "{:?}",
            closed.whole.summary()
        );
    }

    #[test]
    fn requests_keep_to_their_times() {
        let listener = listener();
        let to = address(&listener);
        thread::spawn(move || serve(&listener));
        let answer = open_loop(to, 4, 2_000.0, 200, no_wait).unwrap();
        assert_eq!((answer.operations, answer.lag.unwrap().count()), (200, 200));
        assert!(answer.seconds >= 0.1, "200 requests at 2000 per second took {} s", answer.seconds);
        assert!(open_loop(to, 4, 0.0, 1, no_wait).is_err());
    }

    #[test]
    fn what_is_due_waits_for_a_connection_and_is_sent_in_order() {
        let mut requests = Requests::plan(4, Duration::from_nanos(100), 1);
        assert_eq!(requests.queue(50), Schedule::GoesOn);
        assert_eq!(requests.next(), None);
        assert_eq!(requests.queue(250), Schedule::GoesOn);
        assert_eq!(requests.lags, [150, 50]);
        assert_eq!((requests.next(), requests.carried[0]), (Some(0), 100));
        assert_eq!(requests.next(), None);
        assert_eq!(requests.queue(1_000), Schedule::Over);
        assert_eq!(requests.queue(2_000), Schedule::GoesOn);
        requests.idle.push(0);
        assert_eq!((requests.next(), requests.carried[0]), (Some(0), 200));
        assert_eq!(requests.waiting, [300, 400]);
    }
}
