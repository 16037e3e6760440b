//! Limits on how many requests a time allows, and the buckets behind them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::model::Identity;
use crate::routing::{Buckets, Limited, RateLimit, SharedBy, service_key};

/// Identities that have a bucket of their own, for each limit.
const ROOM: usize = 1024;

/// One limit and what is left of it.
#[derive(Clone, Debug)]
struct Metered {
    limit: RateLimit,
    buckets: Arc<Mutex<Buckets<Option<Identity>>>>,
}

/// All limits. A snapshot; what is left of a limit that stays is shared with the one before.
#[derive(Clone, Debug, Default)]
pub(in crate::proxy) struct Meters(Vec<Metered>);

impl Meters {
    /// These limits; those that were there before go on as they stand.
    pub(in crate::proxy) fn new(limits: Vec<RateLimit>, before: &Self) -> Self {
        let meter = |limit: RateLimit| {
            let known = before.0.iter().find(|known| known.limit == limit);
            known
                .cloned()
                .unwrap_or_else(|| Metered { limit, buckets: Arc::new(Mutex::new(Buckets::new(ROOM))) })
        };
        Self(limits.into_iter().map(meter).collect())
    }

    /// Whether a request to one of the workload's own ports is within all of its limits.
    pub(super) fn inbound(&self, port: u16, source: Option<&Identity>, now: Instant) -> bool {
        self.within(
            source,
            now,
            |of| matches!(of, Limited::Inbound(limited) if limited.is_none_or(|it| it == port)),
        )
    }

    /// Whether a request to a service is within all of its limits.
    pub(super) fn service(&self, hostname: &str, now: Instant) -> bool {
        let key = service_key(hostname);
        self.within(None, now, |of| matches!(of, Limited::Service(service) if Some(service.key()) == key))
    }

    /// Whether a request that met a rule is within all of its limits.
    pub(super) fn rule(&self, label: &str, now: Instant) -> bool {
        self.within(None, now, |of| of.names(label))
    }

    fn within(&self, source: Option<&Identity>, now: Instant, meant: impl Fn(&Limited) -> bool) -> bool {
        let mut within = true;
        for metered in self.0.iter().filter(|metered| meant(&metered.limit.of)) {
            let key = match metered.limit.by {
                SharedBy::All => None,
                SharedBy::SourceIdentity => source.cloned(),
            };
            let mut buckets = metered.buckets.lock().unwrap_or_else(PoisonError::into_inner);
            within &= buckets.take(&key, &metered.limit.rate, now).is_ok();
        }
        within
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::routing::{Rate, ServiceName};

    fn limit(of: Limited, by: SharedBy) -> RateLimit {
        RateLimit { of, by, rate: Rate { requests: 1, per: Duration::from_secs(3_600), burst: 2 } }
    }

    #[test]
    fn everybody_is_held_to_what_is_meant_for_them() {
        let limits = vec![
            limit(Limited::Service(ServiceName::new("web", "shop")), SharedBy::All),
            limit(Limited::Route("shop/web/1".to_owned()), SharedBy::All),
            limit(Limited::Inbound(Some(80)), SharedBy::SourceIdentity),
        ];
        let (meters, now) = (Meters::new(limits.clone(), &Meters::default()), Instant::now());
        let identity = |name: &str| -> Identity { format!("spiffe://td/ns/shop/sa/{name}").parse().unwrap() };
        let (one, two) = (identity("one"), identity("two"));
        for _ in 0..2 {
            assert!(meters.service("web.shop.svc.cluster.local", now) && meters.rule("shop/web/1", now));
            assert!(meters.inbound(80, Some(&one), now) && meters.inbound(80, None, now));
        }
        assert!(!meters.service("web.shop.svc.cluster.local", now) && !meters.rule("shop/web/1", now));
        assert!(!meters.inbound(80, Some(&one), now) && !meters.inbound(80, None, now));
        assert!(meters.inbound(80, Some(&two), now), "another identity has a bucket of its own");
        assert!(meters.service("api.shop.svc.cluster.local", now) && meters.rule("shop/web/2", now));
        assert!((0..9).all(|_| meters.inbound(81, None, now)));
        // A reload that leaves a limit as it is gives nobody more.
        let reloaded = Meters::new(limits, &meters);
        assert!(
            !reloaded.service("web.shop.svc.cluster.local", now) && !reloaded.inbound(80, Some(&one), now)
        );
    }
}
