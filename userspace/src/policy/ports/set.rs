//! Sets of ports, as spans.

use std::iter::once;

use super::PortSpan;

/// Ports: disjoint spans in their order that do not touch each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(in super::super) struct PortSet(Vec<PortSpan>);

impl PortSet {
    /// Every port.
    pub(in super::super) fn all() -> Self {
        Self(vec![PortSpan::ALL])
    }

    pub(in super::super) fn is_all(&self) -> bool {
        self.0 == [PortSpan::ALL]
    }

    pub(in super::super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(in super::super) fn spans(&self) -> &[PortSpan] {
        &self.0
    }

    /// What is in one of both.
    pub(in super::super) fn or(&self, other: &Self) -> Self {
        self.0.iter().chain(&other.0).copied().collect()
    }

    /// What is in both.
    pub(in super::super) fn and(&self, other: &Self) -> Self {
        self.not().or(&other.not()).not()
    }

    /// What is not in it.
    pub(in super::super) fn not(&self) -> Self {
        let starts = once(0).chain(self.0.iter().map(|span| u32::from(span.last) + 1));
        let ends = self.0.iter().map(|span| u32::from(span.first)).chain(once(u32::from(u16::MAX) + 1));
        // Between two spans at least one port lies; in front of the first and behind the last there may be none.
        let between = starts.zip(ends).filter(|(start, end)| start < end);
        let span = |(start, end): (u32, u32)| {
            Some(PortSpan { first: u16::try_from(start).ok()?, last: u16::try_from(end - 1).ok()? })
        };
        Self(between.filter_map(span).collect())
    }

    /// The same without its narrowest spans, so that no more than `count` are left.
    pub(in super::super) fn widest(mut self, count: usize) -> Self {
        if self.0.len() > count {
            self.0.sort_by_key(|span| std::cmp::Reverse(span.width()));
            self.0.truncate(count);
            self.0.sort_unstable();
        }
        self
    }
}

impl FromIterator<PortSpan> for PortSet {
    fn from_iter<I: IntoIterator<Item = PortSpan>>(spans: I) -> Self {
        let mut spans: Vec<PortSpan> = spans.into_iter().collect();
        spans.sort_unstable();
        spans.dedup_by(|next, kept| {
            let touch = u32::from(next.first) <= u32::from(kept.last) + 1;
            if touch {
                kept.last = kept.last.max(next.last);
            }
            touch
        });
        Self(spans)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set() -> impl Strategy<Value = PortSet> {
        let end = prop_oneof![8 => 0..12_u16, 1 => Just(u16::MAX), 1 => Just(u16::MAX - 1)];
        let span = (end.clone(), end).prop_map(|(a, b)| PortSpan { first: a.min(b), last: a.max(b) });
        prop::collection::vec(span, 0..5).prop_map(|spans| spans.into_iter().collect())
    }

    proptest! {
        #[test]
        fn sets_are_what_their_ports_are(a in set(), b in set()) {
            let has = |set: &PortSet, port| set.spans().iter().any(|span| span.contains(port));
            for port in (0..14).chain([u16::MAX - 1, u16::MAX]) {
                prop_assert_eq!(has(&a.or(&b), port), has(&a, port) || has(&b, port));
                prop_assert_eq!(has(&a.and(&b), port), has(&a, port) && has(&b, port));
                prop_assert_eq!(has(&a.not(), port), !has(&a, port));
                prop_assert!(!has(&a.clone().widest(1), port) || has(&a, port));
            }
            prop_assert_eq!(a.not().not(), a.clone());
            prop_assert_eq!(a.or(&a.not()), PortSet::all());
        }
    }
}
