//! Which pods of a node are served, and when: what is wished for, told from what stands.
//!
//! Pure: no tokio, no clock of its own, no files, no Kubernetes client. [`crate::agent`] tells it what happened and does what it
//! asks for.
//!
//! # Layout
//! - `wish`: what a pod, its namespace and the node's file say together
//! - `note`: whether a pod that is served still says so
//! - `renewal`: in which order what holds for pods is brought in force
//! - `roster`: who is served, is about to be, or failed to be, and the next steps

mod note;
mod renewal;
mod roster;
mod wish;

pub use note::Note;
pub use renewal::{BegunWith, Renewal, Turn};
pub use roster::{Attach, Roster, Step, When};
pub use wish::{Unsaid, Wish, wish};
