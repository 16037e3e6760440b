//! The straight line through points, and how far they are from it.

use serde::Serialize;

/// What something weighs by itself, and what each one more adds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Line {
    /// At size zero.
    pub(crate) base: f64,
    /// For each one more.
    pub(crate) slope: f64,
    /// How far the farthest point is from the line, as a part of what the line says there.
    pub(crate) largest_deviation: f64,
}

impl Line {
    /// The line of least squares; none through fewer than two different sizes. With three and more sizes it tells whether
    /// growth is linear; two make a line of anything.
    pub(crate) fn through(points: &[(f64, f64)]) -> Option<Self> {
        let count = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
        let (x, y) = (mean(|point| point.0), mean(|point| point.1));
        let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
        if spread == 0.0 || points.is_empty() {
            return None;
        }
        let slope = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum::<f64>() / spread;
        let base = y - slope * x;
        let deviations = points.iter().map(|(size, found)| {
            let expected = base + slope * size;
            ((found - expected) / expected).abs()
        });
        Some(Self { base, slope, largest_deviation: deviations.fold(0.0, f64::max) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_on_a_line_do_not_deviate() {
        let line = Line::through(&[(0.0, 5.0), (1.0, 7.0), (10.0, 25.0)]).unwrap();
        assert!((line.slope - 2.0).abs() < 1e-9 && (line.base - 5.0).abs() < 1e-9, "{line:?}");
        assert!(line.largest_deviation < 1e-9, "{line:?}");
    }

    #[test]
    fn a_bend_shows_as_a_deviation() {
        let line = Line::through(&[(0.0, 10.0), (10.0, 20.0), (20.0, 60.0)]).unwrap();
        assert!(line.largest_deviation > 0.3, "{line:?}");
    }

    #[test]
    fn one_size_makes_no_line() {
        assert_eq!(Line::through(&[(3.0, 5.0), (3.0, 7.0)]), None);
        assert_eq!(Line::through(&[]), None);
    }
}
