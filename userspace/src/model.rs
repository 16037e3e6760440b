//! The words every room shares: addresses by role, identities, the directory of the mesh, and what is known of a
//! connection and of a request.
//!
//! Pure: no tokio, no aya, no clock, no files. Verdicts, reasons and directions are those of the ABI.

mod address;
mod connection;
mod directory;
mod exchange;
mod field;
mod identity;
mod live;
mod object;
mod own;
mod path;
mod pod;
mod protocol;
mod remote;
mod ruling;
mod trace;

pub use address::{ClientAddr, OriginalDst, UpstreamAddr};
pub use connection::{Ended, Fault, Observer, Side, Tier, Traffic};
pub use directory::{
    Ambiguous, Destination, Directory, DirectoryBuilder, DirectoryError, Reach, Service, ServicePort,
    TUNNEL_PORT, Workload, tunnel_address,
};
pub use exchange::{Answer, Exchange, Flag, Flags, Request, RequestKind};
pub use field::{Field, Told};
pub use identity::{Identity, IdentityError, TrustDomain};
pub use live::Live;
pub use object::ObjectKey;
pub use own::OwnAddresses;
pub use path::{AmbiguousPath, PathForm, normalize};
pub use pod::{Network, Phase, Pod, PodKey, Pods};
pub use protocol::Protocol;
pub use remote::{Host, Remote, RemoteError};
pub use ruling::{Decided, NO_RULE, RuleName, Ruling};
pub use sidestep_abi::settings::OnFailure;
pub use sidestep_abi::verdict::{Direction, Reason, Verdict};
pub use trace::{Context, Parents, RandomIds, Sampling, Span, SpanId, TraceId, TraceParent};
