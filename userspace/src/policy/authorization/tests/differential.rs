//! Two evaluators that share nothing decide alike, and what is known beforehand comes true.

use proptest::prelude::*;

use super::any::{held, policies, spoken};
use super::naive;
use crate::policy::{Call, Content, Prospect};

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_index_finds_what_a_naive_reading_finds(
        policies in policies(),
        calls in prop::collection::vec(spoken(), 16),
    ) {
        let held = held(&policies);
        for call in calls {
            let call = call.call();
            prop_assert_eq!(held.decide(&call), naive::decide(&policies, &call), "{:?}", call);
        }
    }

    #[test]
    fn what_is_known_of_a_connection_holds_whatever_it_says(
        policies in policies(),
        calls in prop::collection::vec(spoken(), 16),
    ) {
        let held = held(&policies);
        for call in calls {
            let call = call.call();
            let Prospect::Decided(known) = held.prospect(call.source, call.client, call.destination) else { continue };
            for content in [call.content, Content::Opaque] {
                let decided = held.decide(&Call { content, ..call });
                prop_assert_eq!(decided.ruling.is_allowed(), known.ruling.is_allowed(), "{:?}", call);
                if known.ruling.is_allowed() {
                    prop_assert_eq!(decided.would_be.is_some(), known.would_be.is_some(), "{:?}", call);
                    prop_assert_eq!(decided.audited.is_some(), known.audited.is_some(), "{:?}", call);
                }
            }
        }
    }

    #[test]
    fn what_no_policy_looks_into_is_decided_at_once(mut policies in policies(), call in spoken()) {
        for rule in policies.iter_mut().flat_map(|policy| &mut policy.rules) {
            rule.to.clear();
            rule.when.clear();
        }
        let (held, call) = (held(&policies), call.call());
        let decided = held.decide(&Call { content: Content::Opaque, ..call });
        prop_assert_eq!(held.prospect(call.source, call.client, call.destination), Prospect::Decided(decided));
    }
}
