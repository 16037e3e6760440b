//! Where a value lies on an axis, where the ticks are, and what they are called.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, KeyPointWeight, NoDefaultFormatting, Ranged, ValueFormatter};

/// How values are spread over an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// In proportion, and from zero: a difference looks as large as it is.
    Linear,
    /// By powers of ten. What is not positive has no place.
    Log,
    /// For shares of a whole between 0 and 1: stretched towards both ends (the logit), so that a median and a tail of
    /// one in a thousand are seen alike.
    Share,
}

/// The ticks that an axis of shares may have.
const SHARES: [f64; 13] =
    [0.0001, 0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 0.9999, 0.99999];
/// As many ticks as a linear axis has at most, without its end.
const STEPS: f64 = 6.0;
/// As many ticks as a logarithmic axis has at most, before those between the powers of ten are left out.
const MOST: usize = 10;

impl Scale {
    /// Where a value lies, in units of the axis.
    pub(super) fn place(self, value: f64) -> Option<f64> {
        let place = match self {
            Self::Linear => value,
            Self::Log => value.log10(),
            Self::Share => (value / (1.0 - value)).ln(),
        };
        place.is_finite().then_some(place)
    }
}

/// One axis, wide enough for all its values.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    scale: Scale,
    /// The first and the last value that have a place on it.
    ends: (f64, f64),
    ticks: Vec<f64>,
}

impl Axis {
    /// The axis for these values; those without a place are passed over.
    pub(super) fn over(scale: Scale, values: impl IntoIterator<Item = f64>) -> Self {
        let values = values.into_iter().filter(|&value| scale.place(value).is_some());
        let ends = values.fold(None, |ends: Option<(f64, f64)>, value| {
            let (least, most) = ends.unwrap_or((value, value));
            Some((least.min(value), most.max(value)))
        });
        let mut ticks = match scale {
            Scale::Linear => linear(ends.unwrap_or((0.0, 1.0))),
            Scale::Log => logarithmic(ends.unwrap_or((1.0, 10.0))),
            Scale::Share => around(&SHARES, ends.unwrap_or((0.01, 0.99))),
        };
        let ends = (ticks.first().copied().unwrap_or(0.0), ticks.last().copied().unwrap_or(1.0));
        if scale == Scale::Log && ticks.len() > MOST {
            ticks.retain(|&tick| is_power_of_ten(tick));
        }
        Self { scale, ends, ticks }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let place = |value| self.scale.place(value).unwrap_or_default();
        let (first, last) = (place(self.ends.0), place(self.ends.1));
        let part = (place(*value) - first) / (last - first);
        from + (part * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        match hint.weight() {
            KeyPointWeight::Bold => self.ticks.clone(),
            KeyPointWeight::Any => Vec::new(),
        }
    }

    fn range(&self) -> Range<f64> {
        self.ends.0..self.ends.1
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        name(self.scale, *value)
    }
}

/// Steps of 1, 2 or 5 times a power of ten, from zero or below to the first one that is not below the most.
fn linear((least, most): (f64, f64)) -> Vec<f64> {
    let (least, most) = (least.min(0.0), most.max(0.0));
    let span = if most > least { most - least } else { 1.0 };
    let power = 10_f64.powf((span / STEPS).log10().floor());
    let fits = |step: &f64| span / step <= STEPS;
    let step = [power, 2.0 * power, 5.0 * power].into_iter().find(fits).unwrap_or(10.0 * power);
    let first = (least / step).floor() as i64;
    let last = ((most / step).ceil() as i64).max(first + 1);
    (first..=last).map(|number| number as f64 * step).collect()
}

/// 1, 2 and 5 times the powers of ten, from the last one that is not above the least to the first one that is not
/// below the most.
fn logarithmic((least, most): (f64, f64)) -> Vec<f64> {
    let powers = least.log10().floor() as i32..=most.log10().ceil() as i32 + 1;
    let ticks: Vec<f64> =
        powers.flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power))).collect();
    around(&ticks, (least, most))
}

/// The ticks between which all values lie, at least two.
fn around(ticks: &[f64], (least, most): (f64, f64)) -> Vec<f64> {
    let slack = 1e-9;
    let first = ticks.iter().rposition(|&tick| tick <= least * (1.0 + slack)).unwrap_or(0);
    let last = ticks.iter().position(|&tick| tick >= most * (1.0 - slack)).unwrap_or(ticks.len() - 1);
    let last = last.max(first + 1).min(ticks.len() - 1);
    ticks.get(first.min(last.saturating_sub(1))..=last).unwrap_or_default().to_vec()
}

fn is_power_of_ten(value: f64) -> bool {
    (value.log10() - value.log10().round()).abs() < 1e-9
}

/// A tick's name, short enough to stand beside its neighbours.
fn name(scale: Scale, value: f64) -> String {
    let (value, unit) = match (scale, value.abs()) {
        (Scale::Share, _) => (value * 100.0, "%"),
        (_, 1e9..) => (value / 1e9, "G"),
        (_, 1e6..) => (value / 1e6, "M"),
        (_, 1e4..) => (value / 1e3, "k"),
        _ => (value, ""),
    };
    // Six digits are more than a tick needs, and hide what a product of floating point numbers has too much.
    let digits = format!("{value:.6}");
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    format!("{}{unit}", if digits == "-0" { "0" } else { digits })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(scale: Scale, values: &[f64], expect: &[&str]) {
        let axis = Axis::over(scale, values.iter().copied());
        let names: Vec<String> = axis.ticks.iter().map(|tick| axis.format_ext(tick)).collect();
        assert_eq!(names, expect, "{scale:?} over {values:?}");
        for value in values.iter().filter(|&&value| scale.place(value).is_some()) {
            let at = axis.map(value, (0, 1000));
            assert!((0..=1000).contains(&at), "{value} is outside {:?}", axis.ends);
        }
    }

    #[test]
    fn a_linear_axis_begins_at_zero_and_steps_evenly() {
        check(Scale::Linear, &[3.0, 21.7], &["0", "5", "10", "15", "20", "25"]);
        check(Scale::Linear, &[36_000.0], &["0", "10k", "20k", "30k", "40k"]);
        check(Scale::Linear, &[-0.7, 1.1], &["-1", "-0.5", "0", "0.5", "1", "1.5"]);
        check(Scale::Linear, &[0.3], &["0", "0.05", "0.1", "0.15", "0.2", "0.25", "0.3"]);
    }

    #[test]
    fn a_logarithmic_axis_names_what_fits() {
        check(Scale::Log, &[12.0, 340.0], &["10", "20", "50", "100", "200", "500"]);
        check(Scale::Log, &[1.0, 100_000.0], &["1", "10", "100", "1000", "10k", "100k"]);
        check(Scale::Log, &[0.0, 10.0], &["10", "20"]);
    }

    #[test]
    fn an_axis_of_shares_reaches_into_the_tail() {
        check(
            Scale::Share,
            &[0.0, 0.01, 0.9989, 1.0],
            &["1%", "5%", "10%", "25%", "50%", "75%", "90%", "99%", "99.9%"],
        );
    }

    #[test]
    fn a_value_lies_where_its_scale_says() {
        let at = |scale, values: [f64; 2], value| Axis::over(scale, values).map(&value, (0, 1000));
        assert_eq!(at(Scale::Linear, [0.0, 10.0], 5.0), 500);
        assert_eq!(at(Scale::Log, [1.0, 100.0], 10.0), 500);
        assert_eq!(at(Scale::Share, [0.01, 0.99], 0.5), 500);
    }

    #[test]
    fn an_axis_of_nothing_is_an_axis() {
        check(Scale::Linear, &[], &["0", "0.2", "0.4", "0.6", "0.8", "1"]);
        check(Scale::Linear, &[0.0], &["0", "0.2"]);
        check(Scale::Log, &[f64::NAN], &["1", "2", "5", "10"]);
    }
}
