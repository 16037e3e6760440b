//! Verdicts, reasons, and the counters that are indexed by them.

/// What happens to a connection.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// Untouched: the kernel alone carries it.
    Direct = 0,
    /// Captured: steered to the instance.
    Proxy = 1,
    /// Refused at once.
    Deny = 2,
}

impl Verdict {
    /// Every verdict, in the order of its number.
    pub const ALL: [Self; 3] = [Self::Direct, Self::Proxy, Self::Deny];

    /// The word used in logs, metrics and flags.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Proxy => "proxy",
            Self::Deny => "deny",
        }
    }

    /// The verdict of that number, if there is one.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// Declares [`Reason`] with its words and its list in one place.
macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $word:literal;)+) => {
        /// Why a verdict was given. A closed set: counted in the kernel, shown in the access log.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name = $number,)+
        }

        impl Reason {
            /// Every reason, in the order of its number.
            pub const ALL: [Self; REASONS] = [$(Self::$name),+];

            /// The word used in logs and metrics.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }

            /// The reason of that number, if there is one.
            #[must_use]
            pub fn from_number(number: u8) -> Option<Self> {
                Self::ALL.get(usize::from(number)).copied()
            }
        }
    };
}

/// How many reasons there are.
pub const REASONS: usize = 24;

reasons! {
    /// A configured rule matched destination and port.
    Rule = 0, "rule";
    /// No rule matched; the workload's default verdict holds.
    Default = 1, "default";
    /// The destination (inbound: the caller) is a loopback address of the same namespace.
    Loopback = 2, "loopback";
    /// The destination (inbound: the caller) is an address of the workload's own namespace.
    OwnAddress = 3, "own_address";
    /// The socket belongs to the instance itself.
    Instance = 4, "instance";
    /// A UDP socket whose destination no rule denies: passes, one count per `connect()` or per unconnected datagram.
    Udp = 5, "udp";
    /// Neither TCP nor UDP (SCTP, raw and others): passes, unless what no rule names is denied.
    OtherProtocol = 6, "other_protocol";
    /// An IPv6 link-local destination: its zone cannot be handed on, so it passes.
    LinkLocal = 7, "link_local";
    /// The port is not among the captured inbound ports.
    PortNotCaptured = 8, "port_not_captured";
    /// No listener of an instance stands: refused, because capture fails closed.
    NoInstance = 9, "no_instance";
    /// No listener of an instance stands and the workload is configured to fail open: passes.
    FailOpen = 10, "fail_open";
    /// The workload addressed the range that captured connections are rewritten into: refused.
    OwnedRange = 11, "owned_range";
    /// The socket storage could not be written (memory): refused.
    StorageFull = 12, "storage_full";
    /// The stage could not be written (full or no memory): the instance will refuse the connection.
    StageFull = 13, "stage_full";
    /// The programs have no settings yet: refused.
    Unsettled = 14, "unsettled";
    /// A rule names a port table that is not there: refused.
    BrokenRule = 15, "broken_rule";
    /// The socket is bound to a device and could not be unbound to reach the instance: refused.
    BoundDevice = 16, "bound_device";
    /// An accepted connection carried no handoff: the instance refused it.
    NoHandoff = 17, "no_handoff";
    /// A connection was addressed to the instance's own listener: refused.
    OwnListener = 18, "own_listener";
    /// Plain text where mutual TLS is demanded: refused.
    PlainText = 19, "plain_text";
    /// The tunnel's port: steered to the tunnel's listener, whatever ports are captured.
    Tunnel = 20, "tunnel";
    /// No workload and no service has the destination's address, and what is unknown is configured to be refused.
    UnknownDestination = 21, "unknown_destination";
    /// The destination is a service that has no such port, or no endpoint: refused.
    NoEndpoint = 22, "no_endpoint";
    /// An authorization policy denies it, or none of those that allow matches: refused.
    Policy = 23, "policy";
}

/// Which way a connection goes, seen from the workload.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// The workload connects.
    Outbound = 0,
    /// Somebody connects to the workload.
    Inbound = 1,
}

impl Direction {
    /// Both, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Outbound, Self::Inbound];

    /// The word used in logs and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
        }
    }
}

/// Slots of the verdict part of the counters.
pub const VERDICT_COUNTERS: u32 = (Direction::ALL.len() * Verdict::ALL.len() * REASONS) as u32;

/// Counter slot of `verdict` for `reason` in `direction`.
#[inline(always)]
#[must_use]
pub const fn verdict_counter(direction: Direction, verdict: Verdict, reason: Reason) -> u32 {
    let row = direction as u32 * Verdict::ALL.len() as u32 + verdict as u32;
    row * REASONS as u32 + reason as u32
}

/// Counters of things that happen beside verdicts, behind the [`VERDICT_COUNTERS`].
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tally {
    /// Handoffs claimed by an accepted socket.
    Captures = VERDICT_COUNTERS,
    /// Handoffs taken back unclaimed because their connecting socket closed.
    Withdrawn = VERDICT_COUNTERS + 1,
    /// Denial events lost because userspace did not read them in time.
    EventsLost = VERDICT_COUNTERS + 2,
}

/// Slots of all counters.
pub const COUNTERS: u32 = VERDICT_COUNTERS + 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_slot_belongs_to_one_direction_verdict_and_reason() {
        let mut seen = [false; VERDICT_COUNTERS as usize];
        for direction in Direction::ALL {
            for verdict in Verdict::ALL {
                for reason in Reason::ALL {
                    let slot = &mut seen[verdict_counter(direction, verdict, reason) as usize];
                    assert!(!*slot, "two meanings for one slot");
                    *slot = true;
                }
            }
        }
        assert!(seen.iter().all(|&used| used));
    }

    #[test]
    fn numbers_lead_back_to_their_reason() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_number(reason as u8), Some(reason));
        }
        assert_eq!(Reason::from_number(REASONS as u8), None);
        assert_eq!(Verdict::from_number(3), None);
    }
}
