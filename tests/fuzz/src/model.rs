//! The part of the room `model` that texts of strangers become.

#[path = "../../../userspace/src/model/identity.rs"]
mod identity;

pub use identity::{Identity, IdentityError, TrustDomain};
