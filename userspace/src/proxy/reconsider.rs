//! Open connections, as they are now and as policy sees them now.
//!
//! Whoever asks for something asks what holds at that moment, and is known here before it asks. So whoever changes what holds
//! and asks about everything that is known here misses nothing.

use super::admission::{Admission, Admitted, Caller, Refused};
use super::facts::{Facts, Standing, State, Talk};
use super::instance::Instance;
use crate::model::{Decided, Direction, Live, OriginalDst, Ruling, Tier};

impl Instance {
    /// What is known of every connection that is open now, in the order of their numbers.
    #[must_use]
    pub fn connections(&self) -> Vec<Live> {
        let mut known: Vec<_> = self.open().iter().map(|(_, facts)| facts.live()).collect();
        known.sort_unstable_by_key(|live| live.connection);
        known
    }

    /// How many connections are open now, by how their bytes move.
    #[must_use]
    pub fn open_by_tier(&self) -> Vec<(Tier, usize)> {
        let mut counts = [Tier::Relay, Tier::Tunnel, Tier::Http].map(|tier| (tier, 0));
        for (_, facts) in self.open() {
            let tier = facts.state().live.tier;
            counts.iter_mut().filter(|(known, _)| *known == tier).for_each(|(_, count)| *count += 1);
        }
        counts.to_vec()
    }

    /// Asks about every open connection and every request again, after what [`Admission`] answers has changed; resets
    /// those that are not let in any more.
    pub fn reconsider(&self) {
        let mut cut = 0_u64;
        for (id, facts) in self.open() {
            if let Some(refused) = reconsidered(&*self.admission, &facts)
                && facts.cut(refused)
            {
                cut += 1;
                self.abort(id);
            }
        }
        if cut > 0 {
            tracing::info!(connections = cut, "connections cut: policy does not let them in any more");
        }
    }
}

/// Why a connection is not let in any more, if it is not. Requests that can be ended alone are.
fn reconsidered(admission: &dyn Admission, facts: &Facts) -> Option<Refused> {
    let (original, upstream, identity, talk, standing) = {
        let State { live, talk, standing, .. } = &*facts.state();
        (live.original?, live.upstream, live.source_identity.clone(), *talk, *standing)
    };
    if facts.direction == Direction::Outbound {
        // What is dialled at one of our own listeners goes on to somewhere else.
        let destination = if original.0.ip().is_loopback() { upstream?.0 } else { original.0 };
        return admission.outbound(destination).err().map(|reason| Refused { reason, decided: None });
    }
    if standing == Standing::Exempt {
        return None;
    }
    let caller = Caller { identity: identity.as_ref(), client: facts.client };
    match (admission.admit(caller, original), standing) {
        (Err(refused), _) => return Some(refused),
        // It was let in with anything, and is not any more.
        (Ok(Admitted::Probing(_, refused)), Standing::Admitted) => return Some(refused),
        (Ok(_), Standing::Probing) => return None,
        (Ok(_), _) => {}
    }
    match talk {
        Talk::Unknown => None,
        Talk::Opaque => {
            let decided = admission.opaque(caller, original);
            (!decided.ruling.is_allowed()).then(|| Refused::by_policy(decided))
        }
        Talk::Http => requests(admission, facts, caller, original),
    }
}

/// Ends the requests that policy does not let through any more; why the connection has to be ended, if it has.
fn requests(
    admission: &dyn Admission,
    facts: &Facts,
    caller: Caller<'_>,
    original: OriginalDst,
) -> Option<Refused> {
    let mut whole = None;
    for held in facts.under_way.now() {
        let decided = match held.asked() {
            Some(asked) => admission.request(caller, original, asked).unwrap_or_else(|_ambiguous| denied()),
            // It may have asked anything.
            None if admission.reads_requests() => denied(),
            None => admission.opaque(caller, original),
        };
        if !decided.ruling.is_allowed() && !held.cut(decided.clone()) {
            whole = Some(Refused::by_policy(decided));
        }
    }
    whole
}

/// What holds of a request of which it is not known any more what it was.
fn denied() -> Decided {
    Decided { ruling: Ruling::Denied(None), ..Decided::default() }
}
