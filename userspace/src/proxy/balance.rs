//! Which endpoint of a service the next connection goes to: of two at random, the one with fewer connections.
//!
//! Two random choices keep endpoints even without asking all of them, and without every instance running to the same one
//! (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing").

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Open connections by endpoint; only endpoints that have some.
#[derive(Clone, Debug, Default)]
pub(super) struct Balance(Arc<Mutex<HashMap<SocketAddr, usize>>>);

impl Balance {
    /// An endpoint, if there is one; the connection counts for it until the answer is dropped.
    pub(super) fn pick(
        &self,
        endpoints: &[IpAddr],
        address: impl Fn(&IpAddr) -> SocketAddr,
    ) -> Option<Picked> {
        let mut load = self.load();
        let carried = |index: usize| load.get(&address(&endpoints[index])).copied().unwrap_or(0);
        let chosen = match endpoints.len() {
            0 => return None,
            1 => 0,
            count => {
                let one = fastrand::usize(..count);
                let other = (one + fastrand::usize(1..count)) % count;
                if carried(other) < carried(one) { other } else { one }
            }
        };
        let address = address(&endpoints[chosen]);
        *load.entry(address).or_default() += 1;
        drop(load);
        Some(Picked { balance: self.clone(), address })
    }

    fn load(&self) -> MutexGuard<'_, HashMap<SocketAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An endpoint that carries one connection more while this lives.
#[derive(Debug)]
pub(super) struct Picked {
    balance: Balance,
    address: SocketAddr,
}

impl Picked {
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        let mut load = self.balance.load();
        if let Some(count) = load.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                load.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_stay_are_spread_and_those_that_end_are_forgotten() {
        let balance = Balance::default();
        let endpoints: Vec<IpAddr> = (1..=4).map(|last| IpAddr::from([10, 0, 0, last])).collect();
        let address = |ip: &IpAddr| SocketAddr::new(*ip, 80);
        assert!(balance.pick(&[], address).is_none());
        let held: Vec<_> = (0..400).filter_map(|_| balance.pick(&endpoints, address)).collect();
        assert_eq!(held.len(), 400);
        for endpoint in &endpoints {
            let count = balance.load()[&address(endpoint)];
            assert!((90..=110).contains(&count), "{endpoint} has {count} of 400");
        }
        drop(held);
        assert!(balance.load().is_empty());
    }
}
