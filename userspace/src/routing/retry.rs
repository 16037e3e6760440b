//! Whether a request is tried again.
//!
//! What a rule does not say is decided carefully: an attempt of which nothing reached the upstream is tried again whatever
//! it asks for, one that may have been heard only if it asks for something that may be done twice (RFC 9110, 9.2.2), and an
//! answer is an answer. A rule with `retry` (GEP-1731) takes that decision itself.

use std::time::Duration;

use http::{Method, StatusCode};

/// How often a request is tried again without a rule.
const ATTEMPTS: u32 = 2;
/// The pause in front of the first of them.
const BACKOFF: Duration = Duration::from_millis(25);
/// No pause is longer than so many of the first one.
const LONGEST: u32 = 10;

/// What ended an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing of it was sent: the upstream could not be reached, or said that it did not look at it.
    Unsent,
    /// The upstream may have seen it, and gave no answer.
    Broken,
    /// It took longer than one attempt may.
    TimedOut,
    /// It was answered with this.
    Answered(StatusCode),
}

/// Which attempts are followed by another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How many may follow the first one.
    pub attempts: u32,
    /// Answers that are no answers: 400 to 599.
    pub codes: Vec<StatusCode>,
    /// The shortest pause in front of another attempt.
    pub backoff: Duration,
    /// Whether somebody wrote it down, and so knows what asking twice does.
    pub explicit: bool,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: ATTEMPTS, codes: Vec::new(), backoff: BACKOFF, explicit: false }
    }
}

impl Retry {
    /// Whether another attempt is to follow the one that ended so; `made` were made, that one among them.
    #[must_use]
    pub fn wants(&self, method: &Method, failure: Failure, made: u32) -> bool {
        let repeatable = self.explicit || method.is_idempotent();
        let meant = match failure {
            Failure::Unsent => true,
            Failure::Broken => repeatable,
            // Whoever is slow is not helped by being asked more, unless somebody says so.
            Failure::TimedOut => self.explicit,
            Failure::Answered(status) => self.codes.contains(&status),
        };
        meant && made <= self.attempts
    }

    /// The pause after `made` attempts: twice as long each time, and by chance (of all 64-bit numbers) up to half as long
    /// again, so that those who failed together do not come back together.
    #[must_use]
    pub fn pause(&self, made: u32, random: u64) -> Duration {
        let doubled = 1_u32.checked_shl(made.saturating_sub(1)).unwrap_or(LONGEST).clamp(1, LONGEST);
        let pause = self.backoff.saturating_mul(doubled);
        let jitter = u32::try_from(random >> 32).unwrap_or(0);
        pause + pause.mul_f64(0.5 * f64::from(jitter) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_been_heard_is_said_again_only_if_that_does_no_harm() {
        let (careful, written) = (
            Retry::default(),
            Retry {
                attempts: 1,
                codes: vec![StatusCode::SERVICE_UNAVAILABLE],
                explicit: true,
                ..Retry::default()
            },
        );
        let unavailable = Failure::Answered(StatusCode::SERVICE_UNAVAILABLE);
        let bad = Failure::Answered(StatusCode::BAD_GATEWAY);
        for (retry, method, failure, again) in [
            (&careful, Method::POST, Failure::Unsent, true),
            (&careful, Method::GET, Failure::Broken, true),
            (&careful, Method::PUT, Failure::Broken, true),
            (&careful, Method::POST, Failure::Broken, false),
            (&careful, Method::PATCH, Failure::Broken, false),
            (&careful, Method::GET, Failure::TimedOut, false),
            (&careful, Method::GET, unavailable, false),
            (&written, Method::POST, Failure::Broken, true),
            (&written, Method::POST, Failure::TimedOut, true),
            (&written, Method::POST, unavailable, true),
            (&written, Method::GET, bad, false),
        ] {
            assert_eq!(retry.wants(&method, failure, 1), again, "{method} after {failure:?}");
        }
        assert!(careful.wants(&Method::GET, Failure::Unsent, 2));
        assert!(!careful.wants(&Method::GET, Failure::Unsent, 3));
        assert!(!written.wants(&Method::GET, unavailable, 2));
        let none = Retry { attempts: 0, ..written };
        assert!(!none.wants(&Method::GET, Failure::Unsent, 1));
    }

    #[test]
    fn pauses_double_up_to_a_bound() {
        let retry = Retry { backoff: Duration::from_millis(10), ..Retry::default() };
        for (made, shortest) in [(1, 10), (2, 20), (3, 40), (4, 80), (5, 100), (40, 100)] {
            let (low, high) = (retry.pause(made, 0), retry.pause(made, u64::MAX));
            assert_eq!(low, Duration::from_millis(shortest), "after {made}");
            assert_eq!(high, Duration::from_millis(shortest * 3 / 2), "after {made}");
        }
    }
}
