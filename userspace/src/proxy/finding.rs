//! Who is at an address that is not known yet, asked before a connection goes there.

use std::net::IpAddr;
use std::pin::Pin;

use super::instance::Instance;
use crate::model::{Destination, OriginalDst};

/// Knows how to learn more of the mesh than [`super::Neighbours`] says.
pub trait Finder: Send + Sync + 'static {
    /// Resolves when whatever can be learnt of who has `address` has been told with [`Instance::set_neighbours`], or when that
    /// takes longer than a connection should wait.
    fn find(&self, address: IpAddr) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

impl Instance {
    /// Learns who is at a destination, if nothing is known of it and somebody may know.
    pub(super) async fn look_for(&self, original: OriginalDst) {
        let Some(finder) = &self.finder else { return };
        if matches!(self.neighbours().directory.resolve(original), Destination::Unknown) {
            finder.find(original.0.ip()).await;
        }
    }
}
