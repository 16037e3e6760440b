//! One run of a client, with what everybody used for it.

use anyhow::{Context, Result};
use nix::unistd::Pid;

use crate::bench::account::{Measured, Watched, watch};
use crate::bench::pair::Pair;
use crate::bench::seating::{Cores, Role, Seating};
use crate::bench::way::Side;
use crate::bench::work::Work;
use crate::lab::peer::Account;

/// Everything on one core, so that nobody's time hides behind somebody else's.
pub(super) const SEATING: Seating = Seating::OneCore;

/// What came of a run.
#[derive(Debug, Clone)]
pub(super) struct Played(Measured);

impl Played {
    /// What one role used during the run.
    pub(super) fn account(&self, role: Role) -> Account {
        match role {
            Role::Client => self.0.answer.account,
            Role::Server => self.0.server,
            Role::Proxy => self.0.proxy,
            Role::FarProxy => self.0.far_proxy,
        }
    }

    /// Median of an operation, in microseconds.
    pub(super) fn p50_us(&self) -> f64 {
        self.0.answer.whole.quantile(0.5) as f64 / 1e3
    }

    /// How many operations count: what the accounts are of.
    pub(super) fn operations(&self) -> f64 {
        self.0.answer.operations as f64
    }

    /// How many there were in all, which is what a tool saw that looked from before the start. Connections before those
    /// that count are a good part of them; round trips before those that count are too few to matter.
    pub(super) fn seen(&self) -> f64 {
        self.operations().max(self.0.answer.connections as f64)
    }

    /// The client's process, which has ended.
    pub(super) fn client(&self) -> Pid {
        Pid::from_raw(self.0.answer.process.cast_signed())
    }
}

/// Runs a client that does its work `count` times.
pub(super) fn play(pair: &Pair, work: Work, count: usize, cores: Cores) -> Result<Played> {
    pair.forget_connections()?;
    let core = pair.seat(SEATING, cores)?;
    let watched = Watched {
        proxies: pair.proxy_pids(Side::Near)?,
        far_proxies: pair.proxy_pids(Side::Far)?,
        server: pair.server_pid(),
        cores: [core].into(),
    };
    let mut client = work.part().client(pair.client_pod(), pair.server_at(work), count, Some(core));
    let measured = watch(&mut client, &watched);
    measured.map(Played).with_context(|| format!("{} with {}", work.title(), pair.mode().title()))
}

/// The processes that live through a run.
pub(super) fn others(pair: &Pair) -> Vec<(Role, Pid)> {
    let server = (Role::Server, pair.server_pid());
    std::iter::once(server).chain(pair.sidecar_pid().map(|proxy| (Role::Proxy, proxy))).collect()
}
