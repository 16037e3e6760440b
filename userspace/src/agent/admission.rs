//! Who may connect to the workload: what policy decides, asked by the instance for every connection.

use std::sync::{Arc, PoisonError, RwLock};

use crate::config::Config;
use crate::model::{ClientAddr, Identity, OriginalDst, Reason};
use crate::policy::MutualTls;
use crate::proxy::Admission;

/// The policy in force.
pub(super) struct Gate(RwLock<Arc<MutualTls>>);

impl Gate {
    pub(super) fn new(config: &Config) -> Self {
        Self(RwLock::new(Arc::new(config.mutual_tls.clone())))
    }

    /// Holds connections that arrive from now on to another configuration.
    pub(super) fn publish(&self, config: &Config) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config.mutual_tls.clone());
    }
}

impl Admission for Gate {
    fn plain_text(&self, client: ClientAddr, original: OriginalDst) -> Result<(), Reason> {
        let policy = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        if policy.admits_plain_text(original.0.port(), client.0.ip()) {
            Ok(())
        } else {
            Err(Reason::PlainText)
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
}
