//! What the demonstration says, and the sum of what held.

use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Result, anyhow, bail};

/// A telling in steps. What is printed is meant to be read, not parsed.
#[derive(Debug, Default)]
pub(super) struct Story {
    steps: usize,
    held: usize,
    failed: Vec<String>,
}

impl Story {
    /// Begins a step.
    pub(super) fn step(&mut self, title: &str) {
        self.steps += 1;
        println!("\n{}. {title}", self.steps);
    }

    /// Tells something that is no claim.
    pub(super) fn tell(&self, text: &str) {
        for line in text.lines() {
            println!("   {line}");
        }
    }

    /// Makes a claim: `outcome` is the evidence for it, or why it does not hold.
    pub(super) fn claim(&mut self, claim: &str, outcome: Result<String>) {
        let details = match outcome {
            Ok(evidence) => {
                self.held += 1;
                println!("   ✓ {claim}");
                evidence
            }
            Err(error) => {
                self.failed.push(claim.to_owned());
                println!("   ✗ {claim}");
                format!("{error:#}")
            }
        };
        for line in details.lines() {
            println!("       {line}");
        }
    }

    /// Ends with one line of sum, and fails unless every claim held.
    pub(super) fn end(self) -> Result<()> {
        println!();
        let all = self.held + self.failed.len();
        if self.failed.is_empty() {
            println!("demo: all {all} claims held");
            return Ok(());
        }
        println!("demo: {} of {all} claims did not hold", self.failed.len());
        bail!("the demo did not show: {}", self.failed.join("; "))
    }
}

/// What the tests' harness makes of something: it panics where something is not as it should be, and here that is a claim that
/// does not hold.
pub(super) fn observed<T>(look: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(look)).map_err(|panic| {
        let message = panic.downcast_ref::<String>().cloned();
        let message = message.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        anyhow!(message.unwrap_or_else(|| "it panicked".to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_claim_that_does_not_hold_fails_the_whole() {
        let mut story = Story::default();
        story.claim("water is wet", Ok(String::new()));
        story.claim("the moon is cheese", Err(anyhow::anyhow!("it is rock")));
        let error = story.end().unwrap_err();
        assert_eq!(error.to_string(), "the demo did not show: the moon is cheese");
    }

    #[test]
    fn what_the_harness_panics_with_is_why_a_claim_does_not_hold() {
        let number = 7;
        assert_eq!(observed(|| number).unwrap(), 7);
        let error = observed(|| assert!(number == 8, "expected 8, found {number}")).unwrap_err();
        assert_eq!(error.to_string(), "expected 8, found 7");
    }

    #[test]
    fn claims_that_all_hold_make_a_success() {
        let mut story = Story::default();
        story.claim("water is wet", Ok(String::new()));
        assert!(story.end().is_ok());
    }
}
