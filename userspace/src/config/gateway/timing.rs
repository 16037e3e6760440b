//! `rules[].timeouts` and `rules[].retry`, as they are written.

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::Context;
use super::value::{Attempts, FailureStatus, Time};
use crate::config::ConfigError;
use crate::config::value::Value;
use crate::routing::{Retry, Timeouts};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", expecting = "timeouts such as { request: 10s }")]
pub(super) struct WrittenTimeouts {
    request: Option<Value<Time>>,
    backend_request: Option<Value<Time>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a retry such as { codes: [503], attempts: 2, backoff: 100ms }")]
pub(super) struct WrittenRetry {
    codes: Option<Vec<Value<FailureStatus>>>,
    attempts: Option<Value<Attempts>>,
    backoff: Option<Value<Time>>,
}

impl WrittenTimeouts {
    pub(super) fn timeouts(
        written: Option<Spanned<Self>>,
        at: &str,
        context: Context<'_>,
    ) -> Result<Timeouts, ConfigError> {
        let Some(written) = written else { return Ok(Timeouts::default()) };
        // Zero is how the Gateway API says "none".
        let bound = |time: &Option<Value<Time>>| {
            time.as_ref().map(|Value(Time(time))| *time).filter(|time| !time.is_zero())
        };
        let timeouts = Timeouts {
            request: bound(&written.value.request),
            backend_request: bound(&written.value.backend_request),
        };
        match timeouts {
            Timeouts { request: Some(whole), backend_request: Some(attempt) } if attempt > whole => {
                let message =
                    format!("expected no more than the {whole:?} of timeouts.request, found {attempt:?}");
                Err(context.invalid(&written, format!("{at}.timeouts.backendRequest"), message))
            }
            timeouts => Ok(timeouts),
        }
    }
}

impl WrittenRetry {
    pub(super) fn retry(self) -> Retry {
        let defaults = Retry::default();
        Retry {
            attempts: self.attempts.map_or(defaults.attempts, |Value(Attempts(attempts))| attempts),
            codes: self
                .codes
                .unwrap_or_default()
                .into_iter()
                .map(|Value(FailureStatus(code))| code)
                .collect(),
            backoff: self.backoff.map_or(defaults.backoff, |Value(Time(time))| time),
            explicit: true,
        }
    }
}
