//! Addresses by role, so that a swapped argument does not compile.

use std::fmt;
use std::net::SocketAddr;

/// Declares one role of a socket address.
macro_rules! role {
    ($(#[doc = $doc:literal])+ $name:ident) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct $name(pub SocketAddr);

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }
    };
}

role! {
    /// Where the connecting side wanted to go.
    OriginalDst
}
role! {
    /// Who connects: the workload's socket outbound, the real remote client inbound.
    ClientAddr
}
role! {
    /// Where the instance dials: the original destination itself, or what a later tier chooses for it.
    UpstreamAddr
}
