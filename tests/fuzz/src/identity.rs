//! The reading half of the room `identity`: certificates, bundles and revocation lists.

#[path = "../../../userspace/src/identity/bundle.rs"]
mod bundle;
#[path = "../../../userspace/src/identity/certificate.rs"]
mod certificate;
#[path = "../../../userspace/src/identity/fault.rs"]
mod fault;
#[path = "../../../userspace/src/identity/revocation.rs"]
mod revocation;

pub use bundle::{Bundle, MOST_AUTHORITIES};
pub use certificate::{Leaf, certificates_of_pem};
pub use revocation::read_lists;
