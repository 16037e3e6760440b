//! One message until it is taken, refused, or has been tried long enough.

use std::time::Duration;

use tokio::time::Instant;

use super::Shared;
use super::client::{Client, Failure, Request};

/// Before the second attempt, and at most before any (OTLP 1.x asks for exponential backoff with jitter).
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long a message is worth an attempt.
const PATIENCE: Duration = Duration::from_secs(60);

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The collector took it, all but so many items.
    Taken { rejected: u64 },
    /// It did not.
    Lost,
}

/// Tells when failing begins and when it is over, and nothing in between.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    failing: bool,
}

impl Delivery {
    /// Tries until the message is taken or given up; `failed` is called for every attempt that did not succeed.
    pub(super) async fn run(
        &mut self,
        client: &mut Client,
        request: &Request,
        shared: &Shared,
        failed: impl Fn(),
    ) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = FIRST_PAUSE;
        loop {
            let (after, why, again) = match client.send(request).await {
                Ok(rejected) => {
                    if std::mem::take(&mut self.failing) {
                        tracing::info!("the collector takes spans and logs again");
                    }
                    return Outcome::Taken { rejected };
                }
                Err(Failure::Later { after, why }) => (after, why, true),
                Err(Failure::Refused { why }) => (None, why, false),
            };
            failed();
            if !std::mem::replace(&mut self.failing, true) {
                tracing::warn!(
                    error = why,
                    "the collector does not take spans or logs: they wait, then are dropped and counted"
                );
            }
            // Half of it by chance, so that many who lost a collector do not come back at once.
            let pause_now = after.unwrap_or_else(|| pause.mul_f64(fastrand::f64().mul_add(0.5, 0.5)));
            pause = (pause * 2).min(LONGEST_PAUSE);
            let until = Instant::now() + pause_now.min(LONGEST_PAUSE);
            if !again || shared.closed() || until > deadline {
                return Outcome::Lost;
            }
            // The end is told by a stir, as is much else.
            while tokio::time::timeout_at(until, shared.stirred.notified()).await.is_ok() {
                if shared.closed() {
                    break;
                }
            }
        }
    }
}
