//! What the demonstration says, and the sum of what held.

use anyhow::{Result, bail};

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
    fn claims_that_all_hold_make_a_success() {
        let mut story = Story::default();
        story.claim("water is wet", Ok(String::new()));
        assert!(story.end().is_ok());
    }
}
