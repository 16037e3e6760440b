//! The part of the room `proxy` that looks at the first bytes and at the heads of strangers.

/// A room with files below it keeps them only where it is no file of its own `path`.
#[path = "../../../userspace/src/proxy/http"]
mod below {
    pub mod detect;
    pub mod heads;
}

pub use below::{detect, heads};
