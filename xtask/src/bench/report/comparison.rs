//! What compares the modes: a table for each kind of work, and pictures of what is asked most.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::super::chart::{Bar, Chart, Group, Lines, Scale, Series};
use super::super::document::Document;
use super::super::mode::Mode;
use super::super::rounds::{Comparison, Figure, Plan, Sample};
use super::super::seating::Seating;
use super::super::spread::Spread;
use super::super::work::Work;
use super::figures::{FIGURES, figures_table, pace_lines};
use super::latency;
use crate::lab::peer::{Latencies, Summary};

/// Work whose latencies are shown as curves.
const CURVES: [Work; 3] = [Work::PingPong, Work::Request, Work::HttpOpenLoop];
/// How many points of a curve are drawn.
const POINTS: usize = 200;

/// A picture of bars: one group for each kind of work, one bar for each mode.
struct Picture {
    name: &'static str,
    title: &'static str,
    label: &'static str,
    works: &'static [Work],
    of: fn(&Comparison, Mode, Work, Seating) -> Option<Spread>,
}

const PICTURES: [Picture; 5] = [
    Picture {
        name: "added",
        title: "Latency that the way adds (p50)",
        label: "µs over no capture",
        works: &[Work::PingPong, Work::PingPongLarge, Work::Request, Work::HttpOne],
        of: |comparison, mode, work, seating| comparison.added(mode, work, seating, Figure::P50),
    },
    Picture {
        name: "http-rate",
        title: "HTTP requests per second, closed loop",
        label: "requests per second",
        works: &[Work::HttpOne, Work::HttpMany, Work::HttpCrowd],
        of: |comparison, mode, work, seating| comparison.figure(mode, work, seating, Figure::Rate),
    },
    Picture {
        name: "throughput",
        title: "Bulk throughput on one connection",
        label: "Gbit/s",
        works: &[Work::BulkOneWay, Work::BulkBothWays],
        of: |comparison, mode, work, seating| comparison.figure(mode, work, seating, Figure::Throughput),
    },
    Picture {
        name: "proxy-cpu",
        title: "Processor time of the proxy",
        label: "µs per operation",
        works: &[Work::PingPong, Work::Request, Work::HttpMany],
        of: |comparison, mode, work, seating| comparison.figure(mode, work, seating, Figure::ProxyCpu),
    },
    Picture {
        name: "memory",
        title: "Most resident memory of the proxy",
        label: "MB",
        works: &[Work::HttpMany, Work::HttpCrowd],
        of: |comparison, mode, work, seating| comparison.figure(mode, work, seating, Figure::PeakRss),
    },
];

pub(super) fn tell(comparison: &Comparison, plan: &Plan, document: &mut Document) {
    for seating in plan.seatings() {
        document.heading(2, format!("The ways compared, {}", seating.title()));
        if latency::WORKS.iter().all(|&work| plan.turns.contains(&(work, seating))) {
            document.table(latency::table(comparison, plan, seating));
        }
        for picture in &PICTURES {
            let title = format!("{}, {}", picture.title, seating.title());
            let name = format!("{}-{}", picture.name, seating.word());
            document.figure(name, &title, picture.draw(&title, comparison, plan, seating));
        }
        for work in plan.works(seating) {
            document.heading(3, format!("{}, {}, per {}", work.title(), seating.title(), work.operation()));
            document.table(figures_table(comparison, &plan.modes, work, seating));
            if CURVES.contains(&work) {
                let title = format!("{}, {}", work.title(), seating.title());
                let name = format!("latency-{}-{}", work.word(), seating.word());
                let chart = curves(&title, comparison, plan, work, seating);
                document.figure(name, format!("Latencies of {title}"), chart);
            }
            if work == Work::HttpOpenLoop {
                pace_lines(comparison, seating).into_iter().for_each(|line| document.paragraph(line));
            }
        }
    }
}

impl Picture {
    fn draw(&self, title: &str, comparison: &Comparison, plan: &Plan, seating: Seating) -> Chart {
        let works = self.works.iter().filter(|work| plan.turns.contains(&(**work, seating)));
        let groups = works.map(|&work| {
            let bars = plan.modes.iter().filter_map(|&mode| {
                let Spread { lower, median, upper, .. } = (self.of)(comparison, mode, work, seating)?;
                let is_reference = mode == Mode::NoCapture && self.name == "added";
                let bar = Bar { name: mode.title().to_owned(), value: median, low: lower, high: upper };
                (!is_reference).then_some(bar)
            });
            Group { name: work.title().to_owned(), bars: bars.collect() }
        });
        Chart::groups(title, self.label, groups.collect()).in_order(Mode::ALL.map(Mode::title))
    }
}

/// The part of operations that were not slower, over the time that they took.
fn curves(title: &str, comparison: &Comparison, plan: &Plan, work: Work, seating: Seating) -> Chart {
    let points = |latencies: Latencies| {
        // Closer together towards the end, where the tail is.
        let parts = (0..=POINTS).map(|point| 1.0 - 10_f64.powf(-3.0 * point as f64 / POINTS as f64));
        parts.map(|part| (latencies.quantile(part) as f64 / 1e3, 100.0 * part)).collect()
    };
    let series = plan.modes.iter().filter_map(|&mode| {
        let latencies = comparison.histogram(mode, work, seating)?;
        Some(Series { name: mode.title().to_owned(), points: points(latencies) })
    });
    let lines = Lines {
        title: title.to_owned(),
        x_label: "µs".to_owned(),
        y_label: "% not slower".to_owned(),
        x_scale: Scale::Log,
        y_scale: Scale::Linear,
        series: series.collect(),
        order: Vec::new(),
    };
    Chart::lines(lines).in_order(Mode::ALL.map(Mode::title))
}

/// Every figure of one mode for one kind of work in one column, over the rounds.
#[derive(Debug, Serialize)]
pub(super) struct Cell {
    mode: &'static str,
    seating: &'static str,
    work: &'static str,
    /// By the names of the tables' columns.
    figures: Map<String, Value>,
    /// Operations of all rounds together.
    whole: Summary,
}

pub(super) fn cells(comparison: &Comparison, plan: &Plan) -> Vec<Cell> {
    let mut cells = Vec::new();
    for seating in plan.seatings() {
        for work in plan.works(seating) {
            for &mode in &plan.modes {
                let Some(all) = comparison.histogram(mode, work, seating) else { continue };
                let figures = FIGURES.iter().filter_map(|(name, figure, _)| {
                    let spread = comparison.figure(mode, work, seating, *figure)?;
                    Some(((*name).to_owned(), json!(spread)))
                });
                cells.push(Cell {
                    mode: mode.word(),
                    seating: seating.word(),
                    work: work.word(),
                    figures: figures.collect(),
                    whole: all.summary(),
                });
            }
        }
    }
    cells
}

/// One sample, for programs.
pub(super) fn sample(sample: &Sample) -> Value {
    json!({
        "round": sample.round,
        "mode": sample.mode.word(),
        "seating": sample.seating.word(),
        "work": sample.work.word(),
        "operations": sample.answer.operations,
        "seconds": sample.answer.seconds,
        "bytes": sample.answer.bytes,
        "whole": sample.answer.whole.summary(),
        "connect": sample.answer.connect.as_ref().map(Latencies::summary),
        "client": sample.answer.account,
        "server": sample.server,
        "proxy": sample.proxy,
        "softirq_ns": sample.softirq_ns,
        "proxy_peak_rss": sample.proxy_peak_rss,
    })
}
