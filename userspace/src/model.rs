//! The words every room shares: addresses by role, and what is known of a connection.
//!
//! Pure: no tokio, no aya, no clock, no files. Verdicts, reasons and directions are those of the ABI.

mod address;
mod connection;

pub use address::{ClientAddr, OriginalDst, UpstreamAddr};
pub use connection::{Ended, Fault, Observer, Side, Tier, Traffic};
pub use sidestep_abi::settings::OnFailure;
pub use sidestep_abi::verdict::{Direction, Reason, Verdict};
