//! Which traces are recorded.

use super::TraceId;

/// What becomes of a decision that the request brought along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parents {
    /// It holds: a trace is recorded whole or not at all.
    #[default]
    Followed,
    /// It is ignored, as at the edge of a mesh, where strangers must not decide what is recorded.
    Ignored,
}

/// Which traces are recorded: a part of those that begin here, and of the others those that somebody chose before us.
///
/// The part is chosen by the trace's own bits (the low 56 of its id), so that two sidecars with the same ratio choose the
/// same traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// Traces whose low bits are below this are recorded; 2^56 is all of them.
    below: u64,
    parents: Parents,
}

/// How many values the bits of a trace that decide can have.
const RANGE: u64 = 1 << 56;

impl Sampling {
    /// Records this part of the traces, from 0 to 1; what is outside counts as the nearest of the two, and no number as 0.
    #[must_use]
    pub fn new(ratio: f64, parents: Parents) -> Self {
        // In range by the clamp; 53 bits of precision are plenty.
        Self { below: (ratio.clamp(0.0, 1.0) * RANGE as f64) as u64, parents }
    }

    /// The ratio that it was made of.
    #[must_use]
    pub fn ratio(self) -> f64 {
        self.below as f64 / RANGE as f64
    }

    /// What becomes of a decision that the request brought along.
    #[must_use]
    pub const fn parents(self) -> Parents {
        self.parents
    }

    /// Whether a trace that nobody has decided about is recorded.
    #[must_use]
    pub(super) fn chooses(self, trace: TraceId) -> bool {
        let [.., a, b, c, d, e, f, g] = trace.0;
        u64::from_be_bytes([0, a, b, c, d, e, f, g]) < self.below
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A trace whose deciding bits stand at this part of their range.
    fn at(part: f64) -> TraceId {
        let low = ((part * RANGE as f64) as u64).to_be_bytes();
        let mut bytes = [0xff; 16];
        bytes[9..].copy_from_slice(&low[1..]);
        TraceId(bytes)
    }

    #[test]
    fn the_ratio_is_a_part_of_the_range_of_trace_ids() {
        let chosen = |ratio, part| Sampling::new(ratio, Parents::Followed).chooses(at(part));
        assert!(!chosen(0.0, 0.0) && chosen(1.0, 0.999_999));
        assert!(chosen(0.25, 0.249) && !chosen(0.25, 0.251));
        assert!(!chosen(f64::NAN, 0.0) && !chosen(-1.0, 0.0) && chosen(7.0, 0.999_999));
        assert!(Sampling::new(1.0, Parents::Followed).chooses(TraceId([0xff; 16])), "all means all");
    }

    #[test]
    fn the_ratio_can_be_asked_for() {
        assert!((Sampling::new(0.01, Parents::Ignored).ratio() - 0.01).abs() < 1e-9);
        assert_eq!(Sampling::new(0.5, Parents::Ignored).parents(), Parents::Ignored);
    }
}
