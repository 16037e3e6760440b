//! What the Kubernetes API server says, as the words of [`crate::model`]: the pods of this node, the destinations that its
//! workloads talk to, and the resources that say how. And what is told back: events and conditions.
//!
//! The only room that imports kube. It decides nothing: which pods are served is [`crate::node`]'s business, and what a
//! policy means is known by [`crate::config`]. Nothing of it waits for the API server: what was read last stays in force for
//! as long as the server cannot be asked, and how it is there is told by [`Feed::reachable`].

mod contact;
mod destinations;
mod feed;
mod follow;
mod lookup;
mod loose;
mod mesh;
mod neighbour;
mod news;
mod pace;
mod pods;
mod resources;
mod routes;
mod server;
mod service;
mod settings;
#[cfg(test)]
mod tests;

pub use feed::{Feed, Found};
pub use mesh::{Interest, Mesh, Object};
pub use news::News;
pub use settings::{Api, Settings};
