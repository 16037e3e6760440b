//! What was found of a node, as tables, curves and figures to hold against what was promised.

use super::NodeFigures;
use super::census::Census;
use super::takeover::TakeOver;
use crate::bench::growth::Curve;
use crate::bench::growth::ladder::Figure;
use crate::bench::growth::line::Line;
use crate::bench::spread::Spread;
use crate::bench::table::Table;
use crate::lab::peer::Latencies;

impl NodeFigures {
    /// The agent's resident memory with the most pods, in MB.
    pub(crate) fn resident(&self) -> Option<Spread> {
        Spread::of(self.weights.last().map(|census| census.resident_bytes as f64 / 1e6))
    }

    /// What each further pod adds to it, in MB.
    pub(crate) fn each(&self) -> Option<Spread> {
        Spread::of(self.line(|census| census.resident_bytes).map(|line| line.slope / 1e6))
    }

    /// From the agent's being told of one more pod to its serving it, in milliseconds.
    pub(crate) fn start(&self) -> Option<Spread> {
        spread(&self.starts.as_ref()?.found)
    }

    /// The 99th percentile of the plugin's `ADD`, in milliseconds.
    pub(crate) fn add_p99(&self) -> Option<Spread> {
        let added = &self.starts.as_ref()?.added;
        Spread::of([milliseconds(added.quantile(0.99))])
    }

    /// A connect beside all pods over one alone.
    pub(crate) fn connect_ratio(&self) -> Option<Spread> {
        self.latency.growth(Figure::Connect)
    }

    /// Objects that the agent holds more of than before.
    pub(crate) fn leaked_objects(&self) -> Option<Spread> {
        let churn = self.churn.as_ref()?;
        Spread::of([churn.after.objects().saturating_sub(churn.before.objects()) as f64])
    }

    /// Memory that stayed, in MB.
    pub(crate) fn leaked_memory(&self) -> Option<Spread> {
        let churn = self.churn.as_ref()?;
        let grown = |of: fn(&Census) -> u64| of(&churn.after) as f64 - of(&churn.before) as f64;
        Spread::of([(grown(|it| it.resident_bytes) + grown(|it| it.kernel_bytes)).max(0.0) / 1e6])
    }

    /// How long the second agent took, in milliseconds.
    pub(crate) fn takeover(&self) -> Option<Spread> {
        Spread::of(self.takeovers.iter().map(|it| it.seconds * 1e3))
    }

    /// Connections that had no answer meanwhile, in the worst of them.
    pub(crate) fn refused(&self) -> Option<Spread> {
        Spread::of(self.takeovers.iter().map(|it| it.connections.failures() as f64).max_by(f64::total_cmp))
    }

    fn line(&self, of: fn(&Census) -> u64) -> Option<Line> {
        Line::through(&self.points(of))
    }

    fn points(&self, of: fn(&Census) -> u64) -> Vec<(f64, f64)> {
        self.weights.iter().map(|census| (census.pods as f64, of(census) as f64)).collect()
    }

    /// Latency and memory over the number of pods.
    pub(crate) fn curves(&self) -> Vec<Curve> {
        let megabytes = |name: &str, of: fn(&Census) -> u64| {
            let points = self.points(of).into_iter().map(|(pods, bytes)| (pods, bytes / 1e6));
            (name.to_owned(), points.collect())
        };
        vec![Curve {
            title: "Memory of the agent of a node".to_owned(),
            x_label: "pods enrolled".to_owned(),
            y_label: "MB".to_owned(),
            series: vec![
                megabytes("the process", |census| census.resident_bytes),
                megabytes("BPF maps and programs", |census| census.kernel_bytes),
            ],
        }]
    }

    /// Everything, part by part.
    pub(crate) fn tables(&self) -> Vec<(String, Table)> {
        let mut tables = vec![
            ("The agent of a node, idle".to_owned(), self.weight()),
            ("Connections of one pod of a node, one core, µs".to_owned(), self.latency.table("pods")),
        ];
        if self.starts.is_some() || self.churn.is_some() {
            tables.push(("One more pod of a node, ms".to_owned(), self.starts()));
        }
        if let Some(churn) = &self.churn {
            let title =
                format!("What stays of {} pods that came and went in {:.0} s", churn.pods, churn.seconds);
            let mut table = Table::with_columns(columns("the agent"));
            for (when, census) in [("before", &churn.before), ("after", &churn.after)] {
                table.add([vec![when.to_owned()], census.row()].concat());
            }
            tables.push((title, table));
        }
        if !self.takeovers.is_empty() {
            tables.push(("All pods of a node taken over by a second agent".to_owned(), self.taken_over()));
        }
        tables
    }

    fn weight(&self) -> Table {
        let mut table = Table::with_columns(columns("pods"));
        for census in &self.weights {
            table.add([vec![census.pods.to_string()], census.row()].concat());
        }
        let slope = |of| self.line(of).map_or_else(String::new, |line| format!("{:.0} kB", line.slope / 1e3));
        let each =
            vec!["each one more".to_owned(), slope(|it| it.resident_bytes), slope(|it| it.kernel_bytes)];
        table.add(each);
        table
    }

    fn starts(&self) -> Table {
        let mut table = Table::with_head(["how", "pods", "times", "p50", "p99", "longest"]);
        let mut row = |how: &str, pods: usize, took: &Latencies| {
            let show = |nanoseconds| format!("{:.1}", milliseconds(nanoseconds));
            table.add(vec![
                how.to_owned(),
                pods.to_string(),
                took.count().to_string(),
                show(took.quantile(0.5)),
                show(took.quantile(0.99)),
                show(took.max()),
            ]);
        };
        if let Some(starts) = &self.starts {
            row("found by the agent, until served", starts.pods, &starts.found);
            row("ADD of the CNI plugin", starts.pods, &starts.added);
            row("DEL of the CNI plugin", starts.pods, &starts.deleted);
        }
        if let Some(churn) = &self.churn {
            row("ADD of the CNI plugin while pods come and go", churn.before.pods, &churn.added);
        }
        if let Some((pods, seconds)) = self.enrolled_at_once {
            table.add(vec![format!("{pods} found at once: {:.0} ms in all", seconds * 1e3)]);
        }
        table
    }

    fn taken_over(&self) -> Table {
        let head = [
            "pods",
            "from its start, s",
            "from the first pod, s",
            "connections",
            "not answered",
            "longest, ms",
        ];
        let mut table = Table::with_head(head);
        for TakeOver { pods, seconds, between_seconds, connections } in &self.takeovers {
            let failed: Vec<String> =
                connections.failed.iter().map(|(why, count)| format!("{count} {why}")).collect();
            table.add(vec![
                pods.to_string(),
                format!("{seconds:.2}"),
                format!("{between_seconds:.2}"),
                connections.answered.to_string(),
                if failed.is_empty() { "0".to_owned() } else { failed.join(", ") },
                format!("{:.0}", milliseconds(connections.longest_ns)),
            ]);
        }
        table
    }
}

fn columns(first: &str) -> Vec<String> {
    [first].into_iter().chain(Census::COLUMNS).map(str::to_owned).collect()
}

fn milliseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

/// Median and quartiles, in milliseconds.
fn spread(took: &Latencies) -> Option<Spread> {
    let [lower, median, upper] = [0.25, 0.5, 0.75].map(|part| milliseconds(took.quantile(part)));
    Some(Spread { lower, median, upper, of: usize::try_from(took.count()).ok()? })
}
