//! Tunnels that stand, by who they are between: connections to one destination share one.
//!
//! However many connections want a tunnel that does not stand yet, one of them has it dialled and the others wait for the
//! same dial. A tunnel that turned out to be closing or dead leaves the pool and carries on with what it has.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use super::client::{self, Lease, Tunnel};
use crate::model::{Fault, Identity, Side};
use crate::proxy::instance::Instance;
use crate::proxy::workers::Seat;

/// Between whom a tunnel is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ends {
    /// Who we are.
    pub(super) source: Identity,
    /// Who the other end has to be.
    pub(super) destination: Identity,
    /// Where it listens.
    pub(super) address: SocketAddr,
}

/// The tunnels of one instance.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Pool(Mutex<HashMap<Ends, Slot>>);

/// What there is between the same ends.
#[derive(Debug, Default)]
struct Slot {
    tunnels: Vec<Arc<Tunnel>>,
    dialling: Option<watch::Receiver<Dial>>,
}

/// How a dial stands that several wait for.
#[derive(Clone, Debug)]
enum Dial {
    Under,
    Stands,
    Failed(Failure),
}

/// A fault that can be told to several.
#[derive(Clone, Debug)]
struct Failure {
    side: Side,
    doing: &'static str,
    kind: io::ErrorKind,
    message: String,
}

/// Which tunnels will do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    /// Any that is not known to be closing.
    Any,
    /// One that was dialled since.
    Since(Instant),
}

impl Wanted {
    fn takes(self, tunnel: &Tunnel) -> bool {
        match self {
            Self::Any => true,
            Self::Since(moment) => tunnel.established() >= moment,
        }
    }
}

impl Pool {
    /// A place for one stream in a tunnel between `ends`, which is dialled on the worker of `seat` if none stands.
    ///
    /// # Errors
    /// The dial failed.
    pub(super) async fn lease(
        &self,
        instance: &Arc<Instance>,
        ends: &Ends,
        wanted: Wanted,
        seat: &Seat,
    ) -> Result<Lease, Fault> {
        loop {
            let mut dial = match self.lease_or_dial(instance, ends, wanted, seat) {
                Ok(lease) => return Ok(lease),
                Err(dial) => dial,
            };
            // A dial whose task is gone counts as failed.
            let stands = dial.wait_for(|dial| !matches!(dial, Dial::Under)).await.map(|dial| dial.clone());
            match stands {
                Ok(Dial::Stands) => {}
                Ok(Dial::Failed(failure)) => return Err(failure.into()),
                Ok(Dial::Under) | Err(_) => {
                    let gone = io::Error::new(io::ErrorKind::ConnectionAborted, "the dial was given up");
                    return Err(Fault::new(Side::Agent, "dial tunnel", gone));
                }
            }
        }
    }

    fn lease_or_dial(
        &self,
        instance: &Arc<Instance>,
        ends: &Ends,
        wanted: Wanted,
        seat: &Seat,
    ) -> Result<Lease, watch::Receiver<Dial>> {
        let mut slots = self.slots();
        let slot = slots.entry(ends.clone()).or_default();
        let usable = slot.tunnels.iter().filter(|tunnel| wanted.takes(tunnel));
        if let Some(lease) = usable.filter_map(Lease::take).next() {
            return Ok(lease);
        }
        if let Some(dial) = &slot.dialling {
            return Err(dial.clone());
        }
        let (told, dial) = watch::channel(Dial::Under);
        slot.dialling = Some(dial.clone());
        drop(slots);
        let (ends, seat) = (ends.clone(), seat.another());
        let runtime = seat.runtime().clone();
        // A task of its own: whoever asked first may go away while others wait.
        instance.spawn_tunnel(&runtime, |alive| async move {
            let instance = Arc::clone(&alive.instance);
            let begun = Begun { pool: &instance.pool, ends: &ends, tunnel: None };
            match client::dial(&instance, &ends, seat).await {
                Ok((tunnel, driver)) => {
                    begun.succeeded(&tunnel);
                    told.send_replace(Dial::Stands);
                    let known = Arc::downgrade(&tunnel);
                    // The pool has it by now, and those who have a place in it.
                    drop(tunnel);
                    driver.drive(&instance, &ends, known).await;
                }
                Err(fault) => {
                    drop(begun);
                    told.send_replace(Dial::Failed(fault.into()));
                }
            }
            drop(alive);
        });
        Err(dial)
    }

    /// A place where a tunnel between `ends` lives, if one stands.
    pub(super) fn home(&self, ends: &Ends) -> Option<Seat> {
        self.slots().get(ends)?.tunnels.first().map(|tunnel| tunnel.seat().another())
    }

    /// Hands a tunnel out no more. Its streams live on.
    pub(super) fn retire(&self, ends: &Ends, tunnel: &Arc<Tunnel>) {
        self.change(ends, |slot| slot.tunnels.retain(|other| !Arc::ptr_eq(other, tunnel)));
    }

    /// Hands no tunnel out any more that has no stream.
    pub(in crate::proxy) fn retire_idle(&self) {
        let mut slots = self.slots();
        for slot in slots.values_mut() {
            slot.tunnels.retain(|tunnel| !tunnel.is_idle());
        }
        slots.retain(|_, slot| !slot.is_empty());
    }

    fn change(&self, ends: &Ends, change: impl FnOnce(&mut Slot)) {
        let mut slots = self.slots();
        if let Some(slot) = slots.get_mut(ends) {
            change(slot);
            if slot.is_empty() {
                slots.remove(ends);
            }
        }
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Ends, Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn is_empty(&self) -> bool {
        self.tunnels.is_empty() && self.dialling.is_none()
    }
}

/// A dial that the pool knows of. Dropped, whether it came to an end or its task was aborted, the next may dial again.
struct Begun<'a> {
    pool: &'a Pool,
    ends: &'a Ends,
    tunnel: Option<Arc<Tunnel>>,
}

impl Begun<'_> {
    fn succeeded(mut self, tunnel: &Arc<Tunnel>) {
        self.tunnel = Some(Arc::clone(tunnel));
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.pool.change(self.ends, |slot| {
            slot.dialling = None;
            slot.tunnels.extend(self.tunnel.take());
        });
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let Fault { side, doing, source } = fault;
        Self { side, doing, kind: source.kind(), message: source.to_string() }
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        let Failure { side, doing, kind, message } = failure;
        Self::new(side, doing, io::Error::new(kind, message))
    }
}
