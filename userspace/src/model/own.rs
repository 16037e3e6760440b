//! The addresses that a workload has itself, which change while it lives.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

/// The addresses of one workload, shared by who follows them and who asks for them.
#[derive(Clone, Debug, Default)]
pub struct OwnAddresses(Arc<RwLock<Vec<IpAddr>>>);

impl OwnAddresses {
    /// These.
    #[must_use]
    pub fn new(addresses: Vec<IpAddr>) -> Self {
        Self(Arc::new(RwLock::new(addresses)))
    }

    /// From now on these.
    pub fn replace(&self, addresses: Vec<IpAddr>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    /// Whether the workload has an address now.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(&address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_hears_of_the_newest() {
        let [old, new] = [IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])];
        let own = OwnAddresses::new(vec![old]);
        let asking = own.clone();
        assert!(asking.contains(old) && !asking.contains(new));
        own.replace(vec![new]);
        assert!(!asking.contains(old) && asking.contains(new));
    }
}
