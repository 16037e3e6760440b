//! What is known of a request and its answer when both are over: what metrics, access log lines and spans are made of.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode, Version};
use sidestep_abi::verdict::Direction;

use super::{ClientAddr, Decided, Fault, Identity, OriginalDst, Service, Span, UpstreamAddr, Workload};

/// One request with its answer, or with what it got instead of one.
#[derive(Debug)]
pub struct Exchange {
    /// The number of its connection.
    pub connection: Option<u64>,
    /// When the request's head had arrived.
    pub began: SystemTime,
    /// Which way it went.
    pub direction: Direction,
    /// Who asked.
    pub client: ClientAddr,
    /// Where its connection wanted to go; absent where the workload addressed us explicitly.
    pub original: Option<OriginalDst>,
    /// Where it was sent at last; absent when it was sent nowhere.
    pub upstream: Option<UpstreamAddr>,
    /// Who asked by its certificate (outbound: who we are); absent in plain text.
    pub source_identity: Option<Identity>,
    /// Who answered by its certificate (inbound: who we are); absent in plain text.
    pub destination_identity: Option<Identity>,
    /// The other side (outbound: who answered; inbound: who asked), if the directory knows it. Inbound it is known by its
    /// certificate and its address together, never by its address alone.
    pub peer: Option<Arc<Workload>>,
    /// The service that was asked, if the destination was one.
    pub service: Option<Arc<Service>>,
    /// What was asked.
    pub request: Request,
    /// What was answered; absent when the client got no answer at all.
    pub answer: Option<Answer>,
    /// Its place in a trace.
    pub span: Span,
    /// The rule that decided where it goes, such as `shop/web/1`: namespace, HTTPRoute and the number of the rule.
    pub route: Option<Arc<str>>,
    /// How often it was sent: 0 if it was answered by ourselves.
    pub attempts: u32,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Bytes of the answer's body.
    pub answer_bytes: u64,
    /// From the request's head to the last byte of the answer.
    pub duration: Duration,
    /// From the last attempt's beginning to the head of its answer: what the other side took.
    pub upstream_duration: Option<Duration>,
    /// What policy says of it, where that is anything.
    pub decided: Option<Box<Decided>>,
    /// Why it went other than it should.
    pub flags: Flags,
    /// What went wrong.
    pub fault: Option<Fault>,
}

/// What was asked, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// The host that was asked for: `:authority`, or else `Host`.
    pub authority: Option<Box<str>>,
    /// Path and query, not normalised.
    pub target: Box<str>,
    /// The version on the client's connection.
    pub version: Version,
    /// Whether it is gRPC, by its content type.
    pub kind: RequestKind,
    /// `User-Agent`.
    pub user_agent: Option<Box<str>>,
    /// `X-Request-Id`.
    pub request_id: Option<Box<str>>,
}

/// What metrics call the protocol of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestKind {
    /// Any HTTP.
    Http,
    /// `application/grpc`.
    Grpc,
}

impl RequestKind {
    /// The word used in logs and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
        }
    }
}

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// `grpc-status`, from the trailers or the head, where it was a number.
    pub grpc_status: Option<u16>,
}

/// Why a request went other than it should, in the words of Envoy's access log (`RESPONSE_FLAGS`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Flag {
    /// The client went away.
    DownstreamGone,
    /// What the client sent was no HTTP that may be forwarded.
    DownstreamProtocol,
    /// A local limit on how many requests a time allows.
    RateLimited,
    /// No rule matched.
    NoRoute,
    /// No endpoint, or all of them ejected.
    NoHealthyUpstream,
    /// The upstream could not be reached.
    UpstreamFailure,
    /// The upstream ended the connection before the answer was whole.
    UpstreamGone,
    /// The upstream reset the stream.
    UpstreamReset,
    /// What the upstream answered was no HTTP that may be forwarded.
    UpstreamProtocol,
    /// No answer in time.
    UpstreamTimeout,
    /// As many connections, pending requests or requests as a limit allows.
    Overflow,
    /// It was tried as often as allowed.
    RetriesExhausted,
    /// Nothing moved for too long.
    IdleTimeout,
    /// Policy said no.
    Denied,
}

impl Flag {
    /// Every flag, in the order of their numbers.
    pub const ALL: [Self; 14] = [
        Self::DownstreamGone,
        Self::DownstreamProtocol,
        Self::RateLimited,
        Self::NoRoute,
        Self::NoHealthyUpstream,
        Self::UpstreamFailure,
        Self::UpstreamGone,
        Self::UpstreamReset,
        Self::UpstreamProtocol,
        Self::UpstreamTimeout,
        Self::Overflow,
        Self::RetriesExhausted,
        Self::IdleTimeout,
        Self::Denied,
    ];

    /// Envoy's word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::DownstreamGone => "DC",
            Self::DownstreamProtocol => "DPE",
            Self::RateLimited => "RL",
            Self::NoRoute => "NR",
            Self::NoHealthyUpstream => "UH",
            Self::UpstreamFailure => "UF",
            Self::UpstreamGone => "UC",
            Self::UpstreamReset => "UR",
            Self::UpstreamProtocol => "UPE",
            Self::UpstreamTimeout => "UT",
            Self::Overflow => "UO",
            Self::RetriesExhausted => "URX",
            Self::IdleTimeout => "SI",
            Self::Denied => "UAEX",
        }
    }
}

/// A set of flags. Shown as Envoy does: joined by commas, `-` if there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(u16);

impl Flags {
    /// Adds one.
    pub const fn raise(&mut self, flag: Flag) {
        self.0 |= 1 << flag as u8;
    }

    /// Whether it is among them.
    #[must_use]
    pub const fn has(self, flag: Flag) -> bool {
        self.0 & (1 << flag as u8) != 0
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut raised = Flag::ALL.into_iter().filter(|flag| self.has(*flag)).peekable();
        if raised.peek().is_none() {
            return formatter.write_str("-");
        }
        raised.enumerate().try_for_each(|(index, flag)| {
            let comma = if index == 0 { "" } else { "," };
            write!(formatter, "{comma}{}", flag.word())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_shown_as_envoy_shows_them() {
        let mut flags = Flags::default();
        assert_eq!(flags.to_string(), "-");
        flags.raise(Flag::RetriesExhausted);
        flags.raise(Flag::UpstreamFailure);
        assert_eq!(flags.to_string(), "UF,URX");
        assert!(flags.has(Flag::UpstreamFailure) && !flags.has(Flag::Denied));
    }

    #[test]
    fn every_flag_has_a_number_and_a_word_of_its_own() {
        for (number, flag) in Flag::ALL.into_iter().enumerate() {
            assert_eq!(flag as usize, number);
            assert_eq!(Flag::ALL.iter().filter(|other| other.word() == flag.word()).count(), 1);
        }
    }
}
