//! What is told of a workload to the outside: its access log, its metrics, its readiness.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use tokio::task::JoinHandle;

use crate::admin::{self, Admin, Pieces, Readiness};
use crate::agent::admission::Gate;
use crate::agent::refusals;
use crate::config::{
    AdminSettings, Config, LogDestination, LogExport, LogFormat, TraceProtocol, TracingSettings,
};
use crate::datapath::{Counters, Denials};
use crate::identity::Certificates;
use crate::lasting::{Lasting, Panics};
use crate::model::Direction;
use crate::proxy::{Instance, TunnelCounts};
use crate::sys::socket::listen_beside;
use crate::telemetry::{
    Destination, Export, ExportProtocol, ExportSettings, Format, Instances, LogSettings, Outlets, Row,
    Telemetry,
};

/// Adds what the kernel counts to the metrics, and what it refuses to the access log.
pub(super) fn observe_kernel(
    telemetry: &Arc<Telemetry>,
    counters: Counters,
    denials: Denials,
    gate: &Arc<Gate>,
    panics: &Arc<Panics>,
) -> JoinHandle<()> {
    telemetry.add_source(Arc::new(move || kernel_rows(&counters)));
    tokio::spawn(refusals::tell(denials, Arc::clone(telemetry), Arc::clone(gate), Lasting::new(panics)))
}

/// Starts the exporter and opens the access log that a configuration asks for.
pub(super) fn tell(outlets: &Outlets, config: &Config) -> Result<()> {
    let exports = config.tracing.as_ref().map(exports);
    outlets.export_to(exports.as_ref()).context("export to the collector (tracing)")?;
    log_accesses(outlets, config)
}

/// Writes and sends what is left, and tells nothing any more.
pub(super) fn fall_silent(outlets: &Outlets) -> Result<()> {
    outlets.log_to(None).context("end the access log")?;
    outlets.export_to(None).context("end the export")
}

/// Opens the access log that a configuration asks for.
pub(super) fn log_accesses(outlets: &Outlets, config: &Config) -> Result<()> {
    let Some(settings) = &config.access_log else { return Ok(outlets.log_to(None)?) };
    let destination = match &settings.destination {
        LogDestination::Stdout => Destination::Stdout,
        LogDestination::File(path) => Destination::File(path.clone()),
    };
    let format = match settings.effective_format() {
        LogFormat::Text => Format::Text,
        LogFormat::Json | LogFormat::Auto => Format::Json,
    };
    let export = match settings.export {
        LogExport::Never => Export::Never,
        LogExport::Otlp => Export::AsLogs,
    };
    outlets
        .log_to(Some(LogSettings { destination, format, fields: settings.fields.clone(), export }))
        .with_context(|| format!("open the access log {:?}", settings.destination))
}

fn exports(settings: &TracingSettings) -> ExportSettings {
    let protocol = match settings.protocol {
        TraceProtocol::Grpc => ExportProtocol::Grpc,
        TraceProtocol::Http => ExportProtocol::Http,
    };
    ExportSettings {
        endpoint: settings.endpoint.clone(),
        protocol,
        headers: settings.headers.clone(),
        resource: settings.resource.clone(),
        authorities: settings.authorities.clone(),
    }
}

/// Serves readiness, liveness, metrics and what is known of the certificates.
pub(super) fn serve_admin(
    settings: &AdminSettings,
    readiness: &Readiness,
    instances: Arc<Instances>,
    certificates: Option<Arc<Certificates>>,
) -> Result<JoinHandle<()>> {
    let listener = listen_beside(settings.address)
        .with_context(|| format!("listen at {} (admin.address)", settings.address))?;
    let metrics = move |workload: Option<&str>| {
        let exposition = match workload {
            None => instances.exposition(),
            Some(workload) => instances.exposition_of(workload)?,
        };
        Some(Box::new(exposition) as Pieces)
    };
    let standing = move || serde_json::to_string(&certificates.as_ref()?.standing()).ok();
    let admin =
        Admin { readiness: readiness.clone(), metrics: Box::new(metrics), certificates: Box::new(standing) };
    let serving = admin::serve(listener, admin).context("serve admin requests")?;
    Ok(tokio::spawn(async move {
        serving.await;
    }))
}

/// What the instance counts; it is not kept alive by being asked.
pub(super) fn instance_rows(instance: &Arc<Instance>) -> impl Fn() -> Vec<Row> + Send + Sync + 'static {
    let instance = Arc::downgrade(instance);
    move || {
        let rows = |instance: Arc<Instance>| {
            vec![
                Row::AcceptBackoffs(instance.accept_backoffs()),
                Row::ConnectionsOverLimit(instance.over_limit()),
            ]
            .into_iter()
            .chain(instance.panics().map(|panics| panic_row(panics)))
            .chain(tunnel_rows(instance.tunnel_counts()))
            .collect()
        };
        instance.upgrade().map(rows).unwrap_or_default()
    }
}

/// How often tasks of one kind broke.
pub(super) fn panic_row(panics: &Panics) -> Row {
    Row::Panics { task: panics.task(), count: panics.count() }
}

/// The same as a source.
pub(super) fn panics_of(panics: &Arc<Panics>) -> impl Fn() -> Vec<Row> + Send + Sync + 'static {
    let panics = Arc::clone(panics);
    move || vec![panic_row(&panics)]
}

/// Resources that are not in force as they are written, counted.
#[derive(Default)]
pub(super) struct Rejections(Arc<AtomicU64>);

impl Rejections {
    /// Says which these are and why, and counts them from now on.
    pub(super) fn tell(&self, config: &Config) {
        let rejected = config.resources.rejected();
        self.0.store(rejected.len() as u64, Ordering::Relaxed);
        for rejected in rejected {
            tracing::error!(
                resource = rejected.key.as_ref().map_or_else(|| "unknown".to_owned(), ToString::to_string),
                reason = rejected.message,
                last_good_version_kept = rejected.kept,
                "resource rejected, the others are in force"
            );
        }
    }

    /// How many there are.
    pub(super) fn rows(&self) -> impl Fn() -> Vec<Row> + Send + Sync + 'static {
        let count = Arc::clone(&self.0);
        move || vec![Row::ResourcesRejected(count.load(Ordering::Relaxed))]
    }
}

fn tunnel_rows(counts: TunnelCounts) -> [Row; 5] {
    let row = |direction, outcome, count| Row::Tunnels { direction, outcome, count };
    [
        row(Direction::Outbound, "opened", counts.dialled),
        row(Direction::Outbound, "failed", counts.failed_dials),
        row(Direction::Outbound, "retried", counts.retried),
        row(Direction::Inbound, "opened", counts.accepted),
        row(Direction::Inbound, "failed", counts.refused),
    ]
}

/// What the kernel counts.
fn kernel_rows(counters: &Counters) -> Vec<Row> {
    let counts = match counters.read() {
        Ok(counts) => counts,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "cannot read the kernel's counters");
            return Vec::new();
        }
    };
    let verdicts = counts.verdicts.iter().map(|&(direction, verdict, reason, count)| Row::Verdicts {
        direction,
        verdict,
        reason,
        count,
    });
    verdicts
        .chain([
            Row::Captures(counts.captures),
            Row::HandoffsWithdrawn(counts.withdrawn),
            Row::DenialEventsLost(counts.events_lost),
        ])
        .collect()
}
