//! Endpoints that are left out and return.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::routing::{Outcome, OutlierPolicy, Outliers};

const POLICY: OutlierPolicy = OutlierPolicy {
    consecutive_5xx: 3,
    consecutive_gateway_errors: 0,
    interval: Duration::from_secs(10),
    base_ejection: Duration::from_secs(30),
    max_percent: 50,
};

fn fail(
    outliers: &mut Outliers<u8>,
    endpoint: u8,
    times: usize,
    policy: &OutlierPolicy,
    now: Instant,
) -> bool {
    (0..times)
        .map(|_| outliers.record(endpoint, Outcome::ServerError, 4, policy, now))
        .last()
        .unwrap_or(false)
}

#[test]
fn an_endpoint_is_left_out_for_longer_each_time() {
    let (start, mut outliers) = (Instant::now(), Outliers::default());
    assert!(!fail(&mut outliers, 1, 2, &POLICY, start));
    outliers.record(1, Outcome::Good, 4, &POLICY, start);
    assert!(!fail(&mut outliers, 1, 2, &POLICY, start), "two and two are not three in a row");
    assert!(fail(&mut outliers, 1, 1, &POLICY, start));
    let after = |seconds| start + Duration::from_secs(seconds);
    assert!(outliers.ejects(&1, after(29)) && !outliers.ejects(&1, after(30)) && !outliers.ejects(&2, start));
    assert!(fail(&mut outliers, 1, 3, &POLICY, after(30)));
    assert!(outliers.ejects(&1, after(89)) && !outliers.ejects(&1, after(90)));
}

#[test]
fn an_endpoint_that_is_well_is_forgiven() {
    let (start, mut outliers) = (Instant::now(), Outliers::default());
    let after = |seconds| start + Duration::from_secs(seconds);
    assert!(fail(&mut outliers, 1, 3, &POLICY, start));
    outliers.record(1, Outcome::Good, 4, &POLICY, after(31));
    outliers.record(1, Outcome::Good, 4, &POLICY, after(41));
    assert!(fail(&mut outliers, 1, 3, &POLICY, after(42)));
    assert!(!outliers.ejects(&1, after(72)), "it counts as the first time");
}

#[test]
fn no_more_endpoints_are_left_out_than_allowed() {
    for (max_percent, endpoints, allowed) in
        [(50, 4_u8, 2), (10, 4, 1), (10, 1, 0), (100, 1, 1), (0, 4, 0), (100, 4, 4), (34, 3, 1)]
    {
        let (start, mut outliers) = (Instant::now(), Outliers::default());
        let policy = OutlierPolicy { max_percent, ..POLICY };
        for endpoint in 0..endpoints {
            for _ in 0..9 {
                outliers.record(endpoint, Outcome::GatewayError, usize::from(endpoints), &policy, start);
            }
        }
        assert_eq!(outliers.ejected(start), allowed, "{max_percent} % of {endpoints}");
    }
}

#[test]
fn gateway_errors_are_counted_apart() {
    let policy = OutlierPolicy { consecutive_5xx: 0, consecutive_gateway_errors: 2, ..POLICY };
    let (start, mut outliers) = (Instant::now(), Outliers::default());
    assert!(!fail(&mut outliers, 1, 9, &policy, start), "the app's own errors are no gateway's");
    let mut record = |outcome| outliers.record(1, outcome, 4, &policy, start);
    assert!(!record(Outcome::GatewayError));
    assert!(!record(Outcome::ServerError));
    assert!(!record(Outcome::GatewayError));
    assert!(record(Outcome::GatewayError));
}

proptest! {
    #[test]
    fn whatever_happens_somebody_is_left_to_ask(
        events in prop::collection::vec((0..5_u8, 0..3_u8, 0..20_u64), 0..200),
    ) {
        let (mut now, mut outliers) = (Instant::now(), Outliers::default());
        for (endpoint, outcome, seconds) in events {
            now += Duration::from_secs(seconds);
            let outcome = [Outcome::Good, Outcome::ServerError, Outcome::GatewayError][usize::from(outcome)];
            outliers.record(endpoint, outcome, 5, &POLICY, now);
            prop_assert!(outliers.ejected(now) <= 2);
            prop_assert!((0..5).any(|endpoint| !outliers.ejects(&endpoint, now + Duration::from_secs(300))));
        }
    }
}
