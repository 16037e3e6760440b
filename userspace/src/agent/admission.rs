//! Who may connect to the workload, and where the instance may go for it: what policy decides, asked by the instance for every connection.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context, Result};

use crate::config::Config;
use crate::model::{ClientAddr, Identity, OriginalDst, Reason, Verdict};
use crate::policy::{self, Compiled, MutualTls, PlainText, Probed};
use crate::proxy::{Admission, Admitted, Permit, Probing};

/// The policy in force.
pub(super) struct Gate(RwLock<Arc<Policy>>);

/// What a configuration says of connections.
struct Policy {
    /// Which plain text may come in.
    mutual_tls: MutualTls,
    /// Where the workload may go.
    rules: Compiled,
}

impl Policy {
    fn of(config: &Config) -> Result<Self> {
        let rules = config.outbound.rules.compile().context("compile outbound.rules")?;
        Ok(Self { mutual_tls: config.mutual_tls.clone(), rules })
    }
}

impl Gate {
    pub(super) fn new(config: &Config) -> Result<Self> {
        Ok(Self(RwLock::new(Arc::new(Policy::of(config)?))))
    }

    /// Holds connections that arrive from now on to another configuration.
    ///
    /// # Errors
    /// Its rules do not fit together, which a valid configuration's do.
    pub(super) fn publish(&self, config: &Config) -> Result<()> {
        let policy = Arc::new(Policy::of(config)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = policy;
        Ok(())
    }

    fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Admission for Gate {
    fn plain_text(&self, client: ClientAddr, original: OriginalDst) -> Result<Admitted, Reason> {
        match self.policy().mutual_tls.plain_text(original.0.port(), client.0.ip()) {
            PlainText::Admitted => Ok(Admitted::Fully),
            PlainText::Probing(probed) => Ok(Admitted::Probing(Arc::new(Probes(probed)))),
            PlainText::Refused => Err(Reason::PlainText),
        }
    }

    fn tunnelled(
        &self,
        _source: &Identity,
        _client: ClientAddr,
        _original: OriginalDst,
    ) -> Result<(), Reason> {
        // Whoever has proved an identity is let in: no policy speaks of identities yet.
        Ok(())
    }

    fn outbound(&self, destination: SocketAddr) -> Result<(), Reason> {
        // Loopback is nobody else's, whatever the rules say: as the kernel's hooks see it.
        if destination.ip().to_canonical().is_loopback() {
            return Ok(());
        }
        match self.policy().rules.decide(destination) {
            (Verdict::Deny, reason) => Err(reason),
            (Verdict::Proxy | Verdict::Direct, _) => Ok(()),
        }
    }
}

/// Probes as the proxy asks about them.
struct Probes(Arc<Probed>);

impl Probing for Probes {
    fn is_touch_only(&self) -> bool {
        self.0.is_touch_only()
    }

    fn permits(&self, method: &str, target: &str) -> Permit {
        match self.0.permits(method, target) {
            policy::Permit::Granted => Permit::Granted,
            policy::Permit::IfItsMessageIs => Permit::IfItsBodyIs,
            policy::Permit::Refused => Permit::Refused,
        }
    }

    fn permits_check(&self, body: &[u8]) -> bool {
        self.0.permits_check(body)
    }
}
