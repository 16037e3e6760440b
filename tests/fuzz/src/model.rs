//! The part of the room `model` that texts of strangers become.

#[path = "../../../userspace/src/model/identity.rs"]
mod identity;
#[path = "../../../userspace/src/model/path.rs"]
mod path;
#[path = "../../../userspace/src/model/ruling.rs"]
mod ruling;

/// A room with files below it keeps them only where it is no file of its own `path`.
#[path = "../../../userspace/src/model"]
mod below {
    pub mod trace;
}

pub use below::trace;
pub use identity::{Identity, IdentityError, TrustDomain};
pub use path::{PathForm, normalize};
pub use ruling::{Decided, RuleName, Ruling};
