//! The metrics of a process as text, piece by piece: of all its workloads, or of one.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError, RwLock};
use std::vec;

use prometheus::TextEncoder;
use prometheus::proto::MetricFamily;

use super::Telemetry;
use super::golden::{Family, Position};
use super::metrics::{Process, ProcessSource};

/// Bytes of a piece, about.
const PIECE: usize = 32 << 10;

/// The workloads that a process serves, by what tells of them, and what it tells of itself.
#[derive(Debug, Default)]
pub struct Instances {
    workloads: RwLock<BTreeMap<String, Arc<Telemetry>>>,
    process: Process,
}

impl Instances {
    /// Adds a workload, in place of one of that name.
    pub fn register(&self, telemetry: &Arc<Telemetry>) {
        let mut instances = self.workloads.write().unwrap_or_else(PoisonError::into_inner);
        instances.insert(telemetry.own().name.clone(), Arc::clone(telemetry));
    }

    /// Forgets a workload.
    pub fn remove(&self, name: &str) {
        self.workloads.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Where counts of the process itself are read from whenever somebody asks for the metrics.
    pub fn add_source(&self, source: ProcessSource) {
        self.process.add(source);
    }

    /// The metrics of the process and of all workloads.
    #[must_use]
    pub fn exposition(&self) -> Exposition {
        let instances = self.workloads.read().unwrap_or_else(PoisonError::into_inner);
        let process = self.process.families(instances.len());
        Exposition::new(process, instances.values().map(Arc::clone).collect())
    }

    /// The metrics of one workload, if there is one of that name.
    #[must_use]
    pub fn exposition_of(&self, name: &str) -> Option<Exposition> {
        let instances = self.workloads.read().unwrap_or_else(PoisonError::into_inner);
        Some(Exposition::new(Vec::new(), vec![Arc::clone(instances.get(name)?)]))
    }
}

/// Prometheus' text format, version 0.0.4, in pieces that are made when they are asked for.
///
/// A family stands in one place, whoever has samples of it.
#[derive(Debug)]
pub struct Exposition {
    instances: Vec<Arc<Telemetry>>,
    plain: vec::IntoIter<MetricFamily>,
    /// Indices of the next samples.
    family: usize,
    instance: usize,
    position: Position,
    /// Whether the family's head is written.
    headed: bool,
}

impl Exposition {
    fn new(process: Vec<MetricFamily>, instances: Vec<Arc<Telemetry>>) -> Self {
        let named = process.into_iter().map(|family| (family.name().to_owned(), family));
        let mut plain: BTreeMap<String, MetricFamily> = named.collect();
        for mut family in instances.iter().flat_map(|telemetry| telemetry.metrics.families()) {
            match plain.get_mut(family.name()) {
                Some(same) => same.mut_metric().append(family.mut_metric()),
                None => drop(plain.insert(family.name().to_owned(), family)),
            }
        }
        let plain = plain.into_values().collect::<Vec<_>>().into_iter();
        Self { instances, plain, family: 0, instance: 0, position: Position::default(), headed: false }
    }

    /// Goes on within the golden families. Whether there may be more.
    fn golden(&mut self, out: &mut String) -> bool {
        let Some(&family) = Family::ALL.get(self.family) else { return false };
        let Some(telemetry) = self.instances.get(self.instance) else {
            (self.family, self.instance, self.headed) = (self.family + 1, 0, false);
            return true;
        };
        let golden = &telemetry.golden;
        if golden.has(family) {
            if !std::mem::replace(&mut self.headed, true) {
                family.head(out);
            }
            if let ControlFlow::Continue(next) = golden.write(family, self.position, PIECE, out) {
                self.position = next;
                return true;
            }
        }
        (self.instance, self.position) = (self.instance + 1, Position::default());
        true
    }
}

impl Iterator for Exposition {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut out = String::new();
        while out.len() < PIECE {
            if let Some(family) = self.plain.next() {
                // Its names and labels are fixed, and a family without samples is not gathered: it cannot fail.
                if let Err(error) = TextEncoder::new().encode_utf8(&[family], &mut out) {
                    tracing::debug!(%error, "metrics left out");
                }
            } else if !self.golden(&mut out) {
                break;
            }
        }
        (!out.is_empty()).then_some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{asked, relayed, workload};
    use super::super::{Own, ProcessRow, Row};
    use super::*;
    use crate::model::{Direction, Observer};

    fn telemetry(name: &str, destinations: usize) -> Arc<Telemetry> {
        let telemetry = Arc::new(Telemetry::new(Own::named(name), Arc::default()).unwrap());
        for number in 0..destinations {
            let mut exchange = asked();
            exchange.peer = Some(Arc::new(workload(&format!("db-{number}"))));
            telemetry.exchanged(exchange);
        }
        telemetry.opened(Direction::Outbound);
        telemetry.ended(relayed());
        telemetry.add_source(Arc::new(|| vec![Row::Captures(5)]));
        telemetry
    }

    fn whole(exposition: Exposition) -> String {
        exposition.collect()
    }

    #[test]
    fn every_family_stands_in_one_place_with_the_samples_of_all_workloads() {
        let instances = Instances::default();
        instances.register(&telemetry("web", 3));
        instances.register(&telemetry("db", 2));
        let text = whole(instances.exposition());
        let mut seen = Vec::new();
        for line in text.lines() {
            if let Some(family) = line.strip_prefix("# TYPE ") {
                let name = family.split(' ').next().unwrap();
                assert!(!seen.contains(&name), "{name} twice");
                seen.push(name);
            } else if !line.starts_with('#') {
                assert!(line.starts_with(seen.last().unwrap()), "{line} is not of {:?}", seen.last());
            }
        }
        for family in Family::ALL {
            let mut head = String::new();
            family.head(&mut head);
            assert!(text.contains(&head), "{head}");
        }
        assert!(text.contains("sidestep_captures_total{workload=\"web\"} 5\n"));
        assert!(text.contains("sidestep_captures_total{workload=\"db\"} 5\n"));
        let requests =
            |text: &str| text.lines().filter(|line| line.starts_with("istio_requests_total")).count();
        assert_eq!(requests(&text), 5);

        assert!(text.contains("\nsidestep_instances 2\n"));

        let one = whole(instances.exposition_of("db").unwrap());
        assert_eq!(requests(&one), 2);
        assert!(!one.contains("workload=\"web\""));
        assert!(instances.exposition_of("other").is_none());
        instances.remove("db");
        assert!(instances.exposition_of("db").is_none());
    }

    #[test]
    fn what_the_process_tells_of_itself_is_nobodys_in_particular() {
        let instances = Instances::default();
        instances.add_source(Arc::new(|| {
            vec![
                ProcessRow::EnrolmentFailures { reason: "host_network", count: 2 },
                ProcessRow::CniRequests { command: "add", outcome: "done", count: 3 },
                ProcessRow::ApiServerReachable(true),
            ]
        }));
        let text = whole(instances.exposition());
        for line in [
            "sidestep_instances 0",
            "sidestep_enrolment_failures_total{reason=\"host_network\"} 2",
            "sidestep_cni_requests_total{command=\"add\",outcome=\"done\"} 3",
            "sidestep_api_server_reachable 1",
        ] {
            assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
        }
    }

    #[test]
    fn a_large_text_comes_in_small_pieces_that_make_it_up() {
        let instances = Instances::default();
        instances.register(&telemetry("web", 1000));
        let pieces: Vec<String> = instances.exposition().collect();
        let longest = pieces.iter().map(String::len).max().unwrap();
        assert!(longest < 4 * PIECE, "{longest} bytes in one piece");
        let text = pieces.concat();
        let lines = |prefix: &str| text.lines().filter(|line| line.starts_with(prefix)).count();
        assert_eq!(lines("istio_requests_total"), 1000);
        assert_eq!(lines("istio_request_duration_milliseconds_bucket"), 20 * 1000);
        assert_eq!(lines("istio_response_bytes_count"), 1000);
        assert!(text.ends_with('\n'));
    }
}
