//! Sets of inbound ports.
//!
//! Says which ports; the capture keeps away from loopback and from the workload's own addresses by itself.

use std::fmt;

use crate::policy::PortSpan;

/// Which ports of the workload are captured. Port 0 never is: nobody can connect to it.
#[derive(Clone, PartialEq, Eq)]
pub struct InboundPorts {
    /// Sorted, disjoint, not touching each other.
    spans: Vec<PortSpan>,
}

impl InboundPorts {
    /// Every port.
    #[must_use]
    pub fn all() -> Self {
        Self { spans: vec![PortSpan { first: 1, last: u16::MAX }] }
    }

    /// No port.
    #[must_use]
    pub const fn none() -> Self {
        Self { spans: Vec::new() }
    }

    /// Whether connections to `port` are captured.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        let candidate = self.spans.partition_point(|span| span.last < port);
        self.spans.get(candidate).is_some_and(|span| span.contains(port))
    }

    /// Whether no port is captured at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The captured ports as sorted spans that neither overlap nor touch.
    #[must_use]
    pub fn spans(&self) -> &[PortSpan] {
        &self.spans
    }

    /// The same ports but for one.
    #[must_use]
    pub fn without(self, port: u16) -> Self {
        self.without_span(PortSpan::one(port))
    }

    /// The same ports but for those of `hole`.
    #[must_use]
    pub fn without_span(self, hole: PortSpan) -> Self {
        let mut spans = Vec::with_capacity(self.spans.len() + 1);
        for span in self.spans {
            if let Some(last) = hole.first.checked_sub(1).map(|last| last.min(span.last))
                && span.first <= last
            {
                spans.push(PortSpan { first: span.first, last });
            }
            if let Some(first) = hole.last.checked_add(1).map(|first| first.max(span.first))
                && first <= span.last
            {
                spans.push(PortSpan { first, last: span.last });
            }
        }
        Self { spans }
    }
}

impl Default for InboundPorts {
    fn default() -> Self {
        Self::all()
    }
}

impl FromIterator<PortSpan> for InboundPorts {
    fn from_iter<I: IntoIterator<Item = PortSpan>>(spans: I) -> Self {
        let mut spans: Vec<PortSpan> = spans.into_iter().collect();
        spans.sort_unstable();
        let mut merged: Vec<PortSpan> = Vec::with_capacity(spans.len());
        for span in spans {
            match merged.last_mut() {
                Some(before) if span.first <= before.last.saturating_add(1) => {
                    before.last = before.last.max(span.last);
                }
                _ => merged.push(span),
            }
        }
        Self { spans: merged }.without(0)
    }
}

impl fmt::Debug for InboundPorts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.spans.iter().map(|span| format!("{span}"))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(spans: &[&str]) -> InboundPorts {
        spans.iter().map(|text| text.parse::<PortSpan>().expect("a span")).collect()
    }

    fn written(ports: &InboundPorts) -> Vec<String> {
        ports.spans().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn spans_that_overlap_or_touch_become_one() {
        let ports = ports(&["8000-8100", "80", "81", "8050-8200", "0-2", "65535", "65000-65535"]);
        assert_eq!(written(&ports), ["1-2", "80-81", "8000-8200", "65000-65535"]);
    }

    #[test]
    fn holes_split_clip_and_remove_spans() {
        let all = InboundPorts::all();
        assert_eq!(written(&all.clone().without(1)), ["2-65535"]);
        assert_eq!(written(&all.clone().without(u16::MAX)), ["1-65534"]);
        assert_eq!(written(&all.clone().without(15021)), ["1-15020", "15022-65535"]);
        assert_eq!(written(&ports(&["80", "90"]).without(80)), ["90"]);
        assert!(all.without_span(PortSpan::ALL).is_empty());
    }

    #[test]
    fn every_port_is_found_where_it_was_put_and_nowhere_else() {
        let ports = ports(&["80", "8000-8100", "65535"]);
        for port in 0..=u16::MAX {
            let expected = port == 80 || (8000..=8100).contains(&port) || port == u16::MAX;
            assert_eq!(ports.contains(port), expected, "{port}");
        }
        assert!(!InboundPorts::all().contains(0));
        assert!(!InboundPorts::none().contains(80));
    }
}
