//! How much a service may be asked at once: what is beyond that is turned away at once instead of queueing up.

/// What one service is held to; no limit where absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    /// Requests over HTTP/1 that are under way, each of which has a connection of its own
    /// (`connectionPool.tcp.maxConnections`).
    pub connections: Option<u32>,
    /// Requests over HTTP/1 that wait for one of them (`http.http1MaxPendingRequests`).
    pub pending: Option<u32>,
    /// Requests under way, waiting ones not among them (`http.http2MaxRequests`, which is for both versions).
    pub requests: Option<u32>,
    /// Repetitions under way (`http.maxRetries`).
    pub retries: Option<u32>,
}

/// What becomes of a request that wants to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// It is under way.
    Open,
    /// It waits until another one is over.
    Wait,
    /// It is turned away.
    Full,
}

/// What is under way to one service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    active: u32,
    exclusive: u32,
    waiting: u32,
    retries: u32,
}

impl Occupancy {
    /// A request wants to be sent; `exclusive`, if it has a connection of its own. One that is let in ends with
    /// [`Self::leave`], one that waits with [`Self::stop_waiting`].
    pub fn enter(&mut self, caps: &Caps, exclusive: bool) -> Entrance {
        if at(caps.requests, self.active) {
            return Entrance::Full;
        }
        if exclusive && at(caps.connections, self.exclusive) {
            if at(caps.pending, self.waiting) {
                return Entrance::Full;
            }
            self.waiting += 1;
            return Entrance::Wait;
        }
        self.active += 1;
        self.exclusive += u32::from(exclusive);
        Entrance::Open
    }

    /// A request that was let in is over.
    pub const fn leave(&mut self, exclusive: bool) {
        self.active -= 1;
        self.exclusive -= exclusive as u32;
    }

    /// A request waits no longer: it asks again, or it was given up.
    pub const fn stop_waiting(&mut self) {
        self.waiting -= 1;
    }

    /// Whether a request may be repeated; one that may ends with [`Self::repeated`].
    pub fn repeat(&mut self, caps: &Caps) -> bool {
        let may = !at(caps.retries, self.retries);
        self.retries += u32::from(may);
        may
    }

    /// A repetition is over.
    pub const fn repeated(&mut self) {
        self.retries -= 1;
    }

    /// Whether nothing is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        *self == Self::default()
    }
}

fn at(cap: Option<u32>, count: u32) -> bool {
    cap.is_some_and(|cap| count >= cap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_wait_for_connections_and_are_turned_away_when_too_many_wait() {
        let caps = Caps { connections: Some(1), pending: Some(1), requests: Some(3), retries: Some(1) };
        let mut load = Occupancy::default();
        assert_eq!(load.enter(&caps, true), Entrance::Open);
        assert_eq!(load.enter(&caps, true), Entrance::Wait);
        assert_eq!(load.enter(&caps, true), Entrance::Full);
        assert_eq!(load.enter(&caps, false), Entrance::Open, "it shares a connection");
        assert_eq!(load.enter(&caps, false), Entrance::Open);
        assert_eq!(load.enter(&caps, false), Entrance::Full);
        load.leave(false);
        load.leave(true);
        load.stop_waiting();
        assert_eq!(load.enter(&caps, true), Entrance::Open);
        assert!(load.repeat(&caps) && !load.repeat(&caps));
        load.repeated();
        load.leave(true);
        load.leave(false);
        assert!(load.is_idle());
    }

    #[test]
    fn nothing_is_turned_away_without_a_limit() {
        let mut load = Occupancy::default();
        assert!((0..10_000).all(|_| load.enter(&Caps::default(), true) == Entrance::Open));
    }
}
