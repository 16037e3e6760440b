//! What this process logs on standard error, which can be changed while it runs.

use std::io::{IsTerminal, stderr};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// The filter in use; absent before [`begin`].
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Logs from now on what the filter lets through: for people on a terminal, otherwise as JSON.
pub(super) fn begin(filter: &str) {
    let (filter, handle) = reload::Layer::new(EnvFilter::try_new(filter).unwrap_or_default());
    let logs = tracing_subscriber::registry().with(filter);
    if stderr().is_terminal() {
        logs.with(fmt::layer().with_writer(stderr)).init();
    } else {
        logs.with(fmt::layer().json().with_writer(stderr)).init();
    }
    let _first = FILTER.set(handle);
}

/// The filter in use.
pub(super) fn filter() -> String {
    FILTER.get().and_then(|handle| handle.with_current(ToString::to_string).ok()).unwrap_or_default()
}

/// Logs by another filter from now on.
///
/// # Errors
/// It is no filter.
pub(super) fn change(filter: &str) -> Result<()> {
    let known = crate::cli::log_filter(filter).map_err(|error| anyhow!(error))?;
    let handle = FILTER.get().context("nothing is logged here")?;
    handle.reload(EnvFilter::try_new(known)?)?;
    tracing::info!(filter, "logs by another filter");
    Ok(())
}
