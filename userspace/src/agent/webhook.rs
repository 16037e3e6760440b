//! `sidestep webhook`: answers the API server's questions about pods that are to be made.
//!
//! It keeps nothing, asks nobody and needs no rights: what it answers follows from the question and its settings.

mod server;
mod tls;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::admin::{Readiness, State};
use crate::agent::inject::{check, settings};
use crate::agent::sidecar::Stop;
use crate::cli::WebhookArgs;
use crate::inject::Settings;

use self::server::Server;
use self::tls::Presented;

/// How long questions are answered after the signal to stop: until every API server has heard that we go.
const LINGER: Duration = Duration::from_secs(5);

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// The settings make no sidecar, there is no certificate, or the address is not to be had.
pub(super) async fn serve(args: WebhookArgs) -> Result<()> {
    let mut stop = Stop::listen()?;
    let settings = settings(args.config.as_deref())?;
    let presented = Presented::read(&args.tls).with_context(|| format!("read {}", args.tls.display()))?;
    let listener = TcpListener::bind(args.listen).with_context(|| format!("listen at {}", args.listen))?;
    let readiness = Readiness::default();
    let server = Server::new(settings, readiness.clone(), &presented)?;
    let serving = tokio::spawn(server.serve(listener).context("serve")?);
    let renewing = tokio::spawn(Arc::clone(&presented).follow());
    readiness.set(State::Ready);
    tracing::info!(address = %args.listen, "answering admission reviews");
    stop.told().await;
    tracing::info!("told to stop");
    readiness.set(State::Draining);
    tokio::time::sleep(LINGER).await;
    renewing.abort();
    serving.abort();
    Ok(())
}

/// What the API server is answered.
fn answer(body: &[u8], settings: &Settings) -> Result<Vec<u8>, String> {
    let answer = crate::inject::answer(body, settings, &check)?;
    tracing::debug!(
        namespace = answer.namespace,
        pod = answer.name,
        decided = answer.decided.as_str(),
        "answered"
    );
    Ok(answer.body)
}

#[cfg(test)]
mod tests;
