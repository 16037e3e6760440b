//! A comparison for programs: every figure with its spread, every ratio, and every sample as a summary of its histogram.

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::super::mode::{Capture, Mode};
use super::super::rounds::{Comparison, Figure, Measure, Plan, Sample};
use super::super::spread::Spread;
use crate::lab::peer::{Account, Latencies};

/// What fields call the figures: what is counted, and in what.
const FIELDS: [(&str, Figure); 17] = [
    ("p50_us", Figure::P50),
    ("p90_us", Figure::P90),
    ("p99_us", Figure::P99),
    ("p999_us", Figure::P999),
    ("connect_p50_us", Figure::Connect),
    ("operations_per_second", Figure::Rate),
    ("gigabits_per_second", Figure::Throughput),
    ("proxy_cpu_us", Figure::ProxyCpu),
    ("operations_per_cpu_second", Figure::PerCpuSecond),
    ("far_proxy_cpu_us", Figure::FarProxyCpu),
    ("client_cpu_us", Figure::ClientCpu),
    ("server_cpu_us", Figure::ServerCpu),
    ("softirq_us", Figure::Softirq),
    ("switches", Figure::Switches),
    ("proxy_switches", Figure::ProxySwitches),
    ("proxy_peak_mb", Figure::PeakRss),
    ("far_proxy_peak_mb", Figure::FarPeakRss),
];

/// Every figure of one mode for one kind of work in one column, over the rounds.
pub(super) fn figures(comparison: &Comparison, plan: &Plan) -> Vec<Value> {
    let mut cells = Vec::new();
    for &(work, seating) in &plan.turns {
        for &mode in &plan.modes {
            let Some(all) = comparison.histogram(mode, work, seating) else { continue };
            cells.push(json!({
                "mode": mode.word(),
                "work": work.word(),
                "seating": seating.word(),
                "figures": by_field(|figure| comparison.figure(mode, work, seating, figure)),
                "added_p50_us": comparison.added(mode, work, seating, Figure::P50),
                "whole": all.summary(),
            }));
        }
    }
    cells
}

/// Figure by figure, the ratios that say something: every mode over no capture, ours over every other with as many
/// proxies in the way that do as much, and each proxy with our capture over the same with iptables.
pub(super) fn ratios(comparison: &Comparison, plan: &Plan) -> Vec<Value> {
    let mut ratios = Vec::new();
    for &(work, seating) in &plan.turns {
        for (mode, over) in pairs(&plan.modes) {
            let compare = |measure| comparison.ratio(mode, &[over], work, seating, measure);
            let figures = by_field(|figure| compare(Measure::Whole(figure)));
            if !figures.is_empty() {
                ratios.push(json!({
                    "mode": mode.word(),
                    "over": over.word(),
                    "work": work.word(),
                    "seating": seating.word(),
                    "figures": figures,
                    "added_p50_us": compare(Measure::Added(Figure::P50)),
                    "added_p99_us": compare(Measure::Added(Figure::P99)),
                }));
            }
        }
    }
    ratios
}

/// What is measured so that it can be compared with the others.
const OURS: [Mode; 4] = [Mode::RelayEbpf, Mode::Tunnel, Mode::HttpEbpf, Mode::HttpTunnel];

fn pairs(modes: &[Mode]) -> Vec<(Mode, Mode)> {
    let says_something = |mode: Mode, over: Mode| {
        let same_proxy = mode.proxy() == over.proxy() && mode.capture() == Capture::Ebpf;
        let [reads, over_reads] = [mode, over].map(|mode| Mode::HTTP.contains(&mode));
        let is_like_it = over.hop() == mode.hop() && reads == over_reads;
        let is_ours = OURS.contains(&mode) && is_like_it;
        mode != over && (over == Mode::NoCapture || is_ours || same_proxy)
    };
    let all = modes.iter().flat_map(|&mode| modes.iter().map(move |&over| (mode, over)));
    all.filter(|&(mode, over)| says_something(mode, over)).collect()
}

fn by_field(of: impl Fn(Figure) -> Option<Spread>) -> Map<String, Value> {
    let fields = FIELDS.into_iter();
    fields.filter_map(|(name, figure)| Some((name.to_owned(), json!(of(figure)?)))).collect()
}

/// What the proxies weigh after the last round.
pub(super) fn resident(comparison: &Comparison) -> Vec<Value> {
    let each = comparison.resident.iter();
    each.map(|it| json!({ "mode": it.mode.word(), "side": it.side.word(), "bytes": it.bytes })).collect()
}

/// One sample.
pub(super) fn sample(sample: &Sample) -> Value {
    let answer = &sample.answer;
    json!({
        "round": sample.round,
        "mode": sample.mode.word(),
        "work": sample.work.word(),
        "seating": sample.seating.word(),
        "operations": answer.operations,
        "seconds": answer.seconds,
        "bytes": answer.bytes,
        "whole": answer.whole.summary(),
        "connect": answer.connect.as_ref().map(Latencies::summary),
        "lag": answer.lag.as_ref().map(Latencies::summary),
        "client": answer.account,
        "server": sample.server,
        "proxy": (sample.proxy != Account::default()).then_some(sample.proxy),
        "far_proxy": (sample.far_proxy != Account::default()).then_some(sample.far_proxy),
        "softirq_ns": sample.softirq_ns,
        "proxy_peak_rss": sample.proxy_peak_rss,
        "far_proxy_peak_rss": sample.far_proxy_peak_rss,
    })
}

/// An object whose lists have one element to a line: thousands of samples stay readable, and a change of one is a change
/// of one line.
pub(super) fn text(members: &Map<String, Value>) -> Result<String> {
    let shown: Result<Vec<String>> = members.iter().map(|(name, value)| member(name, value)).collect();
    Ok(format!("{{\n{}\n}}\n", shown?.join(",\n")))
}

fn member(name: &str, value: &Value) -> Result<String> {
    let text = match value.as_array() {
        Some(elements) if !elements.is_empty() => {
            let lines: Vec<String> = elements.iter().map(|element| format!("    {element}")).collect();
            format!("[\n{}\n  ]", lines.join(",\n"))
        }
        _ => {
            let pretty =
                serde_json::to_string_pretty(value).with_context(|| format!("write {name} as JSON"))?;
            pretty.replace('\n', "\n  ")
        }
    };
    Ok(format!("  {}: {text}", json!(name)))
}

#[cfg(test)]
mod tests {
    use super::super::super::rounds::ping_pong;
    use super::super::super::seating::{Cores, Seating};
    use super::super::super::work::Work;
    use super::*;

    #[test]
    fn lists_have_one_element_to_a_line() {
        let members = json!({
            "machine": { "cores": 2 },
            "samples": [{ "round": 0, "note": "a\nb" }, { "round": 1 }],
            "notes": [],
        });
        let members = members.as_object().unwrap();
        let text = text(members).unwrap();
        assert_eq!(serde_json::from_str::<Map<String, Value>>(&text).unwrap(), *members);
        assert!(text.contains("\n    {\"round\":1}\n  ]"), "{text}");
    }

    #[test]
    fn ratios_are_those_that_say_something() {
        let over = |mode| {
            let pairs = pairs(&Mode::ALL).into_iter();
            pairs.filter(|(own, _)| *own == mode).map(|(_, over)| over).collect::<Vec<_>>()
        };
        assert_eq!(over(Mode::NoCapture), []);
        assert_eq!(over(Mode::Direct), [Mode::NoCapture]);
        assert_eq!(over(Mode::EnvoyTcpEbpf), [Mode::NoCapture, Mode::EnvoyTcpIptables]);
        assert_eq!(over(Mode::HaproxyIptables), [Mode::NoCapture]);
        assert_eq!(over(Mode::Tunnel), [Mode::NoCapture, Mode::EnvoyTlsIptables]);
        // Not itself, not the direct way, no pair of proxies, and of those that observe requests none but no capture.
        assert_eq!(over(Mode::RelayEbpf).len(), Mode::ALL.len() - 4 - (Mode::HTTP.len() - 1));
    }

    #[test]
    fn a_comparison_is_told_with_its_ratios() {
        let samples = [ping_pong(0, Mode::NoCapture, 10_000), ping_pong(0, Mode::RelayEbpf, 15_000)];
        let comparison = Comparison { samples: samples.into(), ..Comparison::default() };
        let plan = Plan {
            modes: Mode::ALL.to_vec(),
            turns: vec![(Work::PingPong, Seating::OneCore)],
            rounds: 1,
            cores: Cores::of_this_machine().unwrap(),
        };
        let figures = figures(&comparison, &plan);
        assert_eq!(figures.len(), 2);
        assert_eq!(figures[1]["mode"], "ebpf");
        assert_eq!(figures[1]["whole"]["count"], 10);
        let ratios = ratios(&comparison, &plan);
        assert_eq!(ratios.len(), 1);
        let p50 = ratios[0]["figures"]["p50_us"]["median"].as_f64().unwrap();
        assert!((p50 - 1.5).abs() < 0.01, "{p50}");
        assert_eq!(sample(&comparison.samples[0])["proxy"], Value::Null);
    }
}
