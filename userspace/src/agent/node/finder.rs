//! Who is at an address that is not known yet: asked of Kubernetes while the first connection to it waits.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::known::Known;
use crate::kubernetes::{Feed, Found};
use crate::proxy::Finder;

/// Addresses that one workload may have looked for at once; its other connections go on as to one that nobody knows.
const PLACES: usize = 32;
/// How long a connection waits at most.
const PATIENCE: Duration = Duration::from_secs(2);

/// The finder of one workload.
pub(super) struct Search {
    feed: Arc<Feed>,
    /// What is in force for the workload.
    known: watch::Receiver<Known>,
    places: Semaphore,
}

impl Search {
    pub(super) fn new(feed: Arc<Feed>, known: watch::Receiver<Known>) -> Arc<Self> {
        Arc::new(Self { feed, known, places: Semaphore::new(PLACES) })
    }

    async fn search(&self, address: IpAddr) {
        let Ok(_place) = self.places.try_acquire() else { return };
        if self.feed.find(address).await != Found::Known {
            return;
        }
        let mut known = self.known.clone();
        // An error means that the workload is served no more.
        let _gone = known.wait_for(|known| known.knows(address)).await;
    }
}

impl Finder for Search {
    fn find(&self, address: IpAddr) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            // One that takes too long is dialled as one that nobody knows, or refused: as the configuration says.
            let _late = timeout(PATIENCE, self.search(address)).await;
        })
    }
}
