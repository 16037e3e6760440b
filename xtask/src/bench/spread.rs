//! Many figures of one thing: their middle, and how far apart they are.

use std::fmt;

use serde::Serialize;

/// A middle half that is wider than this part of the median tells more about the machine than about what was measured.
const WIDE: f64 = 0.25;

/// Median and quartiles.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    /// A quarter of the figures is not above it.
    pub(crate) lower: f64,
    /// Half of the figures is not above it.
    pub(crate) median: f64,
    /// A quarter of the figures is not below it.
    pub(crate) upper: f64,
    /// How many figures there were.
    pub(crate) of: usize,
}

/// Why a median cannot be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Doubt {
    /// The figures are too far apart for any judgement.
    Wide,
    /// They are close together, but the limit runs right between them.
    Undecided,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wide => "spread too wide to mean much",
            Self::Undecided => "undecided: the limit is inside the middle half",
        })
    }
}

impl Spread {
    /// Sums up; none of nothing.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let at = |part: f64| quantile(&sorted, part);
        Some(Self { lower: at(0.25)?, median: at(0.5)?, upper: at(0.75)?, of: sorted.len() })
    }

    /// Whether the middle half is so wide that the median alone says little. A few figures around zero, such as what a
    /// mode adds that adds nothing, are wide as well.
    pub(crate) fn is_wide(self) -> bool {
        self.upper - self.lower > WIDE * self.median.abs()
    }

    /// What speaks against holding the median against a limit, if anything does. The median is judged all the same; the
    /// doubt stands beside the judgement.
    pub(crate) fn doubt(self, limit: f64) -> Option<Doubt> {
        let undecided = self.lower < limit && limit < self.upper;
        match (self.is_wide(), undecided) {
            (true, _) => Some(Doubt::Wide),
            (false, true) => Some(Doubt::Undecided),
            (false, false) => None,
        }
    }

    /// The same figures in another unit.
    pub(crate) fn scaled(self, factor: f64) -> Self {
        Self {
            lower: self.lower * factor,
            median: self.median * factor,
            upper: self.upper * factor,
            of: self.of,
        }
    }
}

/// Between two neighbours, in proportion.
fn quantile(sorted: &[f64], part: f64) -> Option<f64> {
    let position = sorted.len().checked_sub(1)? as f64 * part;
    let (below, above) = (sorted.get(position.floor() as usize)?, sorted.get(position.ceil() as usize)?);
    Some(below + (above - below) * position.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_half_is_told_from_the_outliers() {
        let spread = Spread::of([5.0, 1.0, 2.0, 100.0, 3.0]).unwrap();
        assert_eq!(spread, Spread { lower: 2.0, median: 3.0, upper: 5.0, of: 5 });
        assert_eq!(Spread::of([1.0, 2.0]).unwrap().median, 1.5);
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn a_wide_middle_half_is_doubted_and_so_is_one_around_the_limit() {
        let doubt = |lower, upper| Spread { lower, median: 0.8, upper, of: 11 }.doubt(0.85);
        assert_eq!(doubt(0.78, 0.82), None);
        assert_eq!(doubt(0.78, 0.85), None);
        assert_eq!(doubt(0.78, 0.86), Some(Doubt::Undecided));
        assert_eq!(doubt(0.5, 0.84), Some(Doubt::Wide));
        assert_eq!(doubt(0.5, 1.3), Some(Doubt::Wide));
    }

    #[test]
    fn one_figure_has_no_spread_to_doubt() {
        assert_eq!(Spread::of([9.5]).unwrap().doubt(10.0), None);
        assert!(Spread::of([-0.1, 0.0, 0.1]).unwrap().is_wide());
    }
}
