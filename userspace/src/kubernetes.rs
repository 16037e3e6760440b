//! What the Kubernetes API server says, as the words of [`crate::model`]: the pods of this node, the destinations that its
//! workloads talk to, and the resources that say how. And what is told back: events and conditions.
//!
//! The only room that imports kube. It decides nothing: which pods are served is [`crate::node`]'s business, and what a
//! policy means is known by [`crate::config`].
