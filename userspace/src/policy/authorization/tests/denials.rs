//! What the kernel refuses by itself is what is denied anyway.

use std::net::SocketAddr;

use proptest::prelude::*;
use sidestep_abi::verdict::Verdict;

use super::any::{held, policies, spoken};
use crate::policy::{Condition, Decision};

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_the_kernel_denies_is_denied_whatever_is_said(
        policies in policies(),
        calls in prop::collection::vec(spoken(), 16),
    ) {
        let held = held(&policies);
        let table = held.plain_text_denials(&[81]).table;
        for mut call in calls {
            call.source = None;
            let caller = SocketAddr::new(call.client, call.destination.port());
            if table.decide(caller).0 == Verdict::Deny {
                prop_assert!(caller.port() != 81);
                prop_assert!(!held.decide(&call.call()).ruling.is_allowed(), "{:?}\n{:?}", call, table);
            }
        }
    }

    #[test]
    fn what_depends_on_address_and_port_alone_is_denied_by_the_kernel_alone(
        mut policies in policies(),
        calls in prop::collection::vec(spoken(), 16),
    ) {
        for rule in policies.iter_mut().flat_map(|policy| &mut policy.rules) {
            rule.to.retain(|operation| {
                operation.hosts.is_empty() && operation.methods.is_empty() && operation.paths.is_empty()
            });
            rule.when.retain(|condition| !matches!(condition, Condition::DestinationIp(_) | Condition::Header(..)));
        }
        let held = held(&policies);
        let denials = held.plain_text_denials(&[]);
        prop_assert_eq!(denials.too_many, None);
        let coarse = |decision: &Decision| matches!(decision, Decision::ByPort(ranges) if ranges.len() > 12);
        prop_assert!(!denials.table.prefixes.iter().any(|prefix| coarse(&prefix.decision)));
        for mut call in calls {
            call.source = None;
            let caller = SocketAddr::new(call.client, call.destination.port());
            let denied = denials.table.decide(caller).0 == Verdict::Deny;
            prop_assert_eq!(denied, !held.decide(&call.call()).ruling.is_allowed(), "{:?}", call);
        }
    }
}
