//! The part of the product that reads the bytes of strangers, and nothing else of it.
//!
//! Its files are built in from where they are. The whole product would bring its cryptography along, which takes many
//! minutes to build for the fuzzer and is not what is looked at here.
#![expect(dead_code, reason = "what is not fuzzed is built in with its file")]

pub mod edge;
pub mod http;
pub mod identity;
pub mod model;
pub mod routing;

/// A room with files below it keeps them only where it is no file of its own `path`.
#[path = "../../../userspace/src"]
mod below {
    pub mod policy;
}

pub use below::policy;
