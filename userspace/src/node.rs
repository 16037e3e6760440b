//! Which pods of a node are served, and when: what is wished for, told from what stands.
//!
//! Pure: no tokio, no clock, no files, no Kubernetes client. [`crate::agent`] tells it what happened and does what it asks for.
