//! What is decided, and step by step why: for people, and for programs.

use std::fmt;

use serde::Serialize;

use crate::model::{Decided, Direction, Reason, Tier, Verdict};

/// What becomes of a connection or a request.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    direction: &'static str,
    from: String,
    to: String,
    /// Where it is decided: the kernel's hook, or the proxy.
    pub(super) hook: &'static str,
    pub(super) verdict: &'static str,
    pub(super) reason: &'static str,
    /// The rule that says so; `none` if no rule that allows matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) policy: Option<String>,
    /// How its bytes move, if they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tier: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source_identity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) destination_identity: Option<String>,
    /// Where the certificate comes from that proves who we are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) certificate: Option<String>,
    /// What would hold if the policies that are only tried held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) would_be: Option<String>,
    /// The rule that audits it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) audit: Option<String>,
    /// What the caller sees of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) answered: Option<&'static str>,
    steps: Vec<Step>,
}

/// One thing that was asked.
#[derive(Debug, Serialize)]
struct Step {
    at: &'static str,
    found: String,
}

impl Answer {
    /// Of a connection of which nothing is known yet.
    pub(super) fn new(direction: Direction, from: String, to: String) -> Self {
        Self {
            direction: direction.word(),
            from,
            to,
            hook: "",
            verdict: Verdict::Proxy.word(),
            reason: Reason::Default.word(),
            policy: None,
            tier: None,
            source_identity: None,
            destination_identity: None,
            certificate: None,
            would_be: None,
            audit: None,
            answered: None,
            steps: Vec::new(),
        }
    }

    /// One more thing was asked.
    pub(super) fn step(&mut self, at: &'static str, found: impl Into<String>) {
        self.hook = at;
        self.steps.push(Step { at, found: found.into() });
    }

    /// Refused, by what was asked last.
    pub(super) fn denied(mut self, reason: Reason, answered: &'static str) -> Self {
        (self.verdict, self.reason, self.answered) = (Verdict::Deny.word(), reason.word(), Some(answered));
        self.tier = None;
        self
    }

    /// Let pass, by what was asked last.
    pub(super) fn passed(mut self, verdict: Verdict, reason: Reason, tier: Tier) -> Self {
        (self.verdict, self.reason, self.tier) = (verdict.word(), reason.word(), Some(tier.word()));
        self
    }

    /// What policy says.
    pub(super) fn says(&mut self, decided: &Decided) {
        (self.policy, self.would_be, self.audit) = (decided.policy(), decided.would_be(), decided.audit());
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "{} {} to {}: {} ({})",
            self.direction, self.from, self.to, self.verdict, self.reason
        )?;
        let facts = [
            ("hook", Some(self.hook)),
            ("policy", self.policy.as_deref()),
            ("answered", self.answered),
            ("tier", self.tier),
            ("source identity", self.source_identity.as_deref()),
            ("destination identity", self.destination_identity.as_deref()),
            ("certificate", self.certificate.as_deref()),
            ("would be", self.would_be.as_deref()),
            ("audit", self.audit.as_deref()),
        ];
        for (name, fact) in facts {
            if let Some(fact) = fact {
                writeln!(formatter, "  {name:<21}{fact}")?;
            }
        }
        for (index, Step { at, found }) in self.steps.iter().enumerate() {
            writeln!(formatter, "{}. {at}: {found}", index + 1)?;
        }
        Ok(())
    }
}
