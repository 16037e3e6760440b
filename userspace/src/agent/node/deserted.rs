//! What an agent before this one has left of pods that nobody serves any more: they changed their mind while no agent was there,
//! and would be refused for as long as they live.

use std::sync::Arc;

use anyhow::{Context, Result};

use super::Node;
use super::sandbox::PodCgroups;
use crate::agent::scope::pins_of;
use crate::datapath::pins::{self, Cleaned, Cleanup};
use crate::model::{Phase, Pod};
use crate::node::Wish;

impl Node {
    /// Lets go of pods that are not to be served. What a live agent holds is left to that one.
    pub(super) fn clear_up(&mut self) {
        let unwished = |pod: &&Arc<Pod>| self.roster.wish(pod, &self.pods) != Wish::Serve;
        let left: Vec<Arc<Pod>> = self.pods.pods.values().filter(unwished).cloned().collect();
        let cgroups = Arc::clone(&self.cgroups);
        self.tasks.spawn(async move {
            let clearing = tokio::task::spawn_blocking(move || {
                // Namespaces go a while after the last process in them.
                pins::sweep();
                for pod in left {
                    match clear(&pod, &cgroups) {
                        Ok(Found::Pins) => {
                            tracing::info!(pod = %pod.key, "let go of a pod that another agent had served");
                        }
                        Ok(Found::Nothing) => {}
                        Err(error) => {
                            tracing::error!(pod = %pod.key, error = format!("{error:#}"), "something stays of a pod");
                        }
                    }
                }
            });
            // A panic, which was reported.
            let _cleared = clearing.await;
        });
    }
}

/// What there was of a pod.
enum Found {
    Pins,
    Nothing,
}

fn clear(pod: &Pod, cgroups: &PodCgroups) -> Result<Found> {
    let name = pins_of(&pod.key);
    // Cheaper than to look for the cgroup of every pod.
    if pins::clean(Some(&name), Cleanup::DryRun)?.is_empty() {
        return Ok(Found::Nothing);
    }
    // What is left of a pod without a cgroup has been removed.
    let Ok(workload) = cgroups.of(&pod.uid) else { return Ok(Found::Nothing) };
    // One that is about to end is refused until it has.
    if pod.phase == Phase::Ended && workload.is_populated().unwrap_or(false) {
        return Ok(Found::Nothing);
    }
    let name = format!("{name}-{}", workload.id().context("look at the pod-level cgroup")?);
    let cleaned = pins::clean(Some(&name), Cleanup::Remove)?;
    let removed = cleaned.iter().any(|cleaned| matches!(cleaned, Cleaned::Removed(_)));
    Ok(if removed { Found::Pins } else { Found::Nothing })
}
