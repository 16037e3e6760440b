//! The API server, as everything in this room asks it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::Api;
use super::contact::{Contact, Meaning};
use super::pace::Pace;

/// The API server.
pub(super) struct Server {
    pub(super) contact: Contact,
    pub(super) pace: Pace,
    client: Client,
}

impl Server {
    /// Reads who it is; it is not asked anything yet.
    pub(super) async fn new(api: &Api, pace: Pace) -> Result<Self> {
        let mut config = match api {
            Api::InCluster => Config::incluster().context(
                "read where the API server is: expected to run in a pod with a service account; otherwise name a kubeconfig",
            )?,
            Api::Kubeconfig(path) => kubeconfig(path).await?,
        };
        // Whoever asks waits between attempts as it sees fit; hidden ones would go on for minutes.
        config.default_retry = false;
        config.connect_timeout = Some(Duration::from_secs(5));
        config.read_timeout = Some(Duration::from_secs(u64::from(pace.watch) + 10));
        let client = Client::try_from(config).context("prepare the connection to the API server")?;
        Ok(Self { contact: Contact::new(), pace, client })
    }

    /// For asking it.
    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Asks it one thing, bounded in time. What is not there is `None`.
    pub(super) async fn ask<T>(
        &self,
        question: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<Option<T>, Failure> {
        match tokio::time::timeout(self.pace.answer, question).await {
            Ok(Ok(answer)) => {
                self.contact.answered();
                Ok(Some(answer))
            }
            Ok(Err(error)) => {
                let meaning = Meaning::of(&error);
                let code = match &error {
                    kube::Error::Api(status) => Some(status.code),
                    _ => None,
                };
                match meaning {
                    Meaning::NotFound => {
                        self.contact.answered();
                        return Ok(None);
                    }
                    Meaning::Unreachable => self.contact.failed(&chain(&error)),
                    Meaning::Gone | Meaning::Refused => {}
                }
                Err(Failure { meaning, code, text: chain(&error) })
            }
            Err(_late) => {
                let text = format!("expected an answer within {:?}, found none", self.pace.answer);
                self.contact.failed(&text);
                Err(Failure { meaning: Meaning::Unreachable, code: None, text })
            }
        }
    }
}

/// Why the API server did not do what it was asked for.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) meaning: Meaning,
    /// The status that it answered with.
    pub(super) code: Option<u16>,
    pub(super) text: String,
}

impl Failure {
    /// What was to be sent could not be written.
    pub(super) fn ours(error: impl std::fmt::Display) -> Self {
        Self { meaning: Meaning::Refused, code: None, text: error.to_string() }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.text)
    }
}

async fn kubeconfig(path: &Path) -> Result<Config> {
    let read = Kubeconfig::read_from(path).with_context(|| format!("read {}", path.display()))?;
    Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("understand {}", path.display()))
}

/// An error with what caused it, once each: kube's own text says only half of it.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
