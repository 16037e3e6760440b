//! Many figures of one thing: their middle, and how far apart they are.

use serde::Serialize;

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

impl Spread {
    /// Sums up; none of nothing.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let at = |part: f64| quantile(&sorted, part);
        Some(Self { lower: at(0.25)?, median: at(0.5)?, upper: at(0.75)?, of: sorted.len() })
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
}
