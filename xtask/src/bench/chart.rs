//! Charts as SVG text: curves, and bars with their middle halves.
//!
//! `plotters` draws; what is here decides what a reader sees: scales, ticks, colours, where names stand. Nothing is
//! rasterised and no font is looked for, so the same figures are the same text on every machine. Where a figure comes
//! from is not known here.

mod bars;
mod lines;
mod look;
mod scale;

pub(crate) use self::bars::{Bar, Bars, Group};
pub(crate) use self::lines::{Lines, Series};
pub(crate) use self::look::theme;
pub(crate) use self::scale::Scale;

/// One picture.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Chart {
    /// Curves over an axis.
    Lines(Lines),
    /// Lying bars, in groups.
    Bars(Bars),
}

impl Chart {
    /// Curves.
    pub(crate) fn lines(lines: Lines) -> Self {
        Self::Lines(lines)
    }

    /// Bars that share one axis, group below group; a group without a name has no heading.
    pub(crate) fn groups(title: impl Into<String>, label: impl Into<String>, groups: Vec<Group>) -> Self {
        Self::Bars(Bars { title: title.into(), label: label.into(), groups, order: Vec::new() })
    }

    /// Gives each of these names the colour and the marker of its place here, so that it looks the same in every chart
    /// whatever else is in it. Names that are not here look as their place in the chart says.
    pub(crate) fn in_order<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        let order = match &mut self {
            Self::Lines(lines) => &mut lines.order,
            Self::Bars(bars) => &mut bars.order,
        };
        *order = names.into_iter().map(str::to_owned).collect();
        self
    }

    /// Whether there is nothing to see.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Lines(lines) => lines.series.iter().all(|series| series.points.is_empty()),
            Self::Bars(bars) => bars.groups.iter().all(|group| group.bars.is_empty()),
        }
    }

    /// The picture: an `svg` element of its own, without a prolog, so that it can stand in a file or in a page.
    pub(crate) fn svg(&self) -> String {
        let drawn = match self {
            Self::Lines(lines) => lines::draw(lines),
            Self::Bars(bars) => bars::draw(bars),
        };
        // Text in memory cannot refuse to be written to; if drawing fails all the same, the picture says so.
        drawn.unwrap_or_else(|error| look::complaint(&error.to_string()))
    }
}

/// Where a name stands in an order of names, or in the chart.
fn rank(order: &[String], name: &str, place: usize) -> usize {
    order.iter().position(|known| known == name).unwrap_or(order.len() + place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curves() -> Chart {
        let series = ["a < b & \"c\"", "d"].map(|name| Series {
            name: name.to_owned(),
            points: vec![(1.0, 0.01), (10.0, 0.5), (1e6, 0.999)],
        });
        Chart::lines(Lines {
            title: "<T> & 'U'".to_owned(),
            x_label: "µs".to_owned(),
            y_label: "share".to_owned(),
            x_scale: Scale::Log,
            y_scale: Scale::Share,
            series: series.into(),
            order: Vec::new(),
        })
    }

    fn texts(svg: &str) -> Vec<String> {
        let tree = roxmltree::Document::parse(svg).unwrap();
        let texts =
            tree.descendants().filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "text")));
        texts.map(|node| node.text().unwrap_or_default().trim().to_owned()).collect()
    }

    #[test]
    fn a_picture_is_well_formed_whatever_its_names_are() {
        let texts = texts(&curves().svg());
        for expected in ["<T> & 'U'", "a < b & \"c\"", "µs", "99.9%", "1M"] {
            assert!(texts.iter().any(|text| text == expected), "{expected} is not in {texts:?}");
        }
    }

    #[test]
    fn the_same_figures_are_the_same_text() {
        assert_eq!(curves().svg(), curves().svg());
    }

    #[test]
    fn bars_tell_what_was_not_measured() {
        let bar =
            |name: &str, value| Bar { name: name.to_owned(), value, low: value - 1.0, high: value + 1.0 };
        let bars = vec![bar("one & two", 12.0), bar("three", f64::NAN)];
        let group = Group { name: String::new(), bars };
        let chart = Chart::groups("added", "µs", vec![group]);
        let texts = texts(&chart.svg());
        for expected in ["one & two", "12.0", "three", "not measured"] {
            assert!(texts.iter().any(|text| text == expected), "{expected} is not in {texts:?}");
        }
    }

    #[test]
    fn nothing_to_see_is_a_picture_too() {
        let chart = Chart::groups("added", "µs", Vec::new());
        assert!(chart.is_empty());
        texts(&chart.svg());
    }

    #[test]
    fn a_name_keeps_its_place_in_the_order_of_names() {
        let order = ["x".to_owned(), "y".to_owned()];
        assert_eq!(rank(&order, "y", 0), 1);
        assert_eq!(rank(&order, "z", 0), 2);
        assert_eq!(rank(&[], "z", 3), 3);
    }
}
