//! What a rule is about, and how that is written: `CIDR[:port[-port]]`.
//!
//! Names are not resolved here or anywhere: a rule is about addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};
use thiserror::Error;

use super::{PortSpan, PortSpanError};

/// Destinations: a prefix and a span of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The prefix; a single address is a prefix of full length.
    pub net: IpNet,
    /// The ports.
    pub ports: PortSpan,
}

/// Length of the prefix in front of an IPv4 address in its mapped form (RFC 4291, 2.5.5.2).
const MAPPED_BITS: u8 = 96;

impl Target {
    /// The same destinations with an IPv4-mapped prefix in its IPv4 form and no host bits.
    #[must_use]
    pub fn canonical(self) -> Self {
        Self { net: canonical(self.net), ports: self.ports }
    }
}

/// The same prefix without host bits, and in its IPv4 form if it is IPv4-mapped.
pub(super) fn canonical(net: IpNet) -> IpNet {
    match net.trunc() {
        IpNet::V6(net) if net.prefix_len() >= MAPPED_BITS => net
            .addr()
            .to_ipv4_mapped()
            .and_then(|v4| Ipv4Net::new(v4, net.prefix_len() - MAPPED_BITS).ok())
            .map_or(IpNet::V6(net), IpNet::V4),
        net => net,
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.net.prefix_len() == self.net.max_prefix_len();
        let bracketed = self.net.addr().is_ipv6() && self.ports != PortSpan::ALL;
        match bracketed {
            true => write!(formatter, "[{}]", self.net.addr())?,
            false => write!(formatter, "{}", self.net.addr())?,
        }
        if !host {
            write!(formatter, "/{}", self.net.prefix_len())?;
        }
        if self.ports != PortSpan::ALL {
            write!(formatter, ":{}", self.ports)?;
        }
        Ok(())
    }
}

/// Why a text is not a target.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TargetError {
    /// It has not the form.
    #[error("expected CIDR[:port[-port]], found {0:?}")]
    NotTarget(String),
    /// An IPv6 prefix with ports, but without the brackets that tell one from the other.
    #[error("expected an IPv6 prefix with ports as [prefix]:port, found {0:?}; write {1}")]
    Unbracketed(String, String),
    /// The prefix is longer than the address.
    #[error("expected a prefix length of at most {limit}, found {found:?}")]
    TooLong {
        /// What was written.
        found: String,
        /// Bits of the address.
        limit: u8,
    },
    /// The address has bits set behind the prefix: a typing error more often than not.
    #[error("expected a network address, found host bits in {found:?}; write {network} for the network{}", host_form(.host))]
    HostBits {
        /// What was written.
        found: String,
        /// The network it lies in.
        network: Target,
        /// The host it names.
        host: Target,
    },
    /// The address is fine, the ports are not.
    #[error("{1} in {0:?}")]
    Ports(String, PortSpanError),
}

/// The second half of the advice for host bits.
fn host_form(host: &Target) -> String {
    format!(" or {host} for the host")
}

/// The parts of a target as written.
struct Parts<'a> {
    address: IpAddr,
    length: Option<&'a str>,
    ports: Option<&'a str>,
}

impl<'a> Parts<'a> {
    /// Takes `10.0.0.0/8:80`, `fd00::/8`, `[fd00::]/8:80`, `[fd00::/8]:80` apart.
    fn of(text: &'a str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix('[') {
            let (inside, behind) = rest.split_once(']')?;
            let (address, mut length) = split_tail(inside, '/');
            let (between, ports) = split_tail(behind, ':');
            if !between.is_empty() {
                let outside = between.strip_prefix('/')?;
                if length.replace(outside).is_some() {
                    return None;
                }
            }
            let address = IpAddr::V6(address.parse::<Ipv6Addr>().ok()?);
            return Some(Self { address, length, ports });
        }
        if text.matches(':').count() > 1 {
            let (address, length) = split_tail(text, '/');
            return Some(Self { address: IpAddr::V6(address.parse().ok()?), length, ports: None });
        }
        let (prefix, ports) = split_tail(text, ':');
        let (address, length) = split_tail(prefix, '/');
        Some(Self { address: IpAddr::V4(address.parse::<Ipv4Addr>().ok()?), length, ports })
    }
}

/// What stands in front of the first `mark` and, if there is one, what stands behind it.
fn split_tail(text: &str, mark: char) -> (&str, Option<&str>) {
    text.split_once(mark).map_or((text, None), |(front, tail)| (front, Some(tail)))
}

/// For `fd00::/8:80`, which means what it seems to mean but is not written so: how to write it.
fn bracketed(text: &str) -> Option<String> {
    let (address, tail) = text.split_once('/')?;
    let (length, ports) = tail.split_once(':')?;
    address.parse::<Ipv6Addr>().ok()?;
    Some(format!("[{address}]/{length}:{ports}"))
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unreadable = || TargetError::NotTarget(text.to_owned());
        if let Some(better) = bracketed(text) {
            return Err(TargetError::Unbracketed(text.to_owned(), better));
        }
        let Parts { address, length, ports } = Parts::of(text).ok_or_else(unreadable)?;
        let limit = IpNet::from(address).max_prefix_len();
        let length = match length {
            None => limit,
            Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                let too_long = || TargetError::TooLong { found: text.to_owned(), limit };
                digits.parse().ok().filter(|&length| length <= limit).ok_or_else(too_long)?
            }
            Some(_) => return Err(unreadable()),
        };
        let ports = match ports {
            None => PortSpan::ALL,
            Some(span) => span.parse().map_err(|error| TargetError::Ports(text.to_owned(), error))?,
        };
        let net = IpNet::new(address, length).map_err(|_| unreadable())?;
        if net != net.trunc() {
            let (network, host) = (Self { net: net.trunc(), ports }, Self { net: address.into(), ports });
            return Err(TargetError::HostBits { found: text.to_owned(), network, host });
        }
        Ok(Self { net, ports }.canonical())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, shown: &str) {
        let target: Target = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(target.to_string(), shown, "{text}");
        assert_eq!(shown.parse(), Ok(target), "{text}");
    }

    #[test]
    fn targets_are_read_in_every_form_and_written_in_one() {
        check("10.0.0.0/8", "10.0.0.0/8");
        check("10.0.0.0/8:5432", "10.0.0.0/8:5432");
        check("169.254.169.254", "169.254.169.254");
        check("169.254.169.254/32:80-90", "169.254.169.254:80-90");
        check("0.0.0.0/0:0-65535", "0.0.0.0/0");
        check("fd00::/8", "fd00::/8");
        check("[fd00::]/8", "fd00::/8");
        check("[fd00::/8]:80-90", "[fd00::]/8:80-90");
        check("[fd00::]/8:80-90", "[fd00::]/8:80-90");
        check("[2001:db8::1]:443", "[2001:db8::1]:443");
        check("2001:db8::1", "2001:db8::1");
        check("::/0", "::/0");
        check("::ffff:10.0.0.0/104", "10.0.0.0/8");
        check("[::ffff:10.0.0.1]:80", "10.0.0.1:80");
    }

    #[test]
    fn what_is_no_target_is_refused_with_what_was_found() {
        for text in [
            "",
            "10",
            "10.0.0/8",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "010.0.0.1",
            "example.com",
            "example.com:80",
            "[10.0.0.1]:80",
            "[fd00::/8]/8:80",
            "[fd00::",
            "[fd00::]x:80",
            "fe80::1%eth0",
            " 10.0.0.1",
            "10.0.0.0/8,",
            "/8",
            ":80",
        ] {
            assert_eq!(text.parse::<Target>(), Err(TargetError::NotTarget(text.to_owned())), "{text:?}");
        }
    }

    #[test]
    fn an_error_says_how_to_write_what_was_meant() {
        let message = |text: &str| text.parse::<Target>().expect_err(text).to_string();
        assert_eq!(
            message("10.0.0.1/8:80"),
            "expected a network address, found host bits in \"10.0.0.1/8:80\"; write 10.0.0.0/8:80 for the network or 10.0.0.1:80 for the host"
        );
        assert_eq!(
            message("fd00::/8:80"),
            "expected an IPv6 prefix with ports as [prefix]:port, found \"fd00::/8:80\"; write [fd00::]/8:80"
        );
        assert_eq!(message("10.0.0.0/33"), "expected a prefix length of at most 32, found \"10.0.0.0/33\"");
        assert_eq!(
            message("10.0.0.0/8:90-80"),
            "expected a port range that goes up, found 90-80; write 80-90 in \"10.0.0.0/8:90-80\""
        );
        assert_eq!(
            message("10.0.0.0/8:http"),
            "expected a port (0-65535) or a range such as 8000-8100, found \"http\" in \"10.0.0.0/8:http\""
        );
    }
}
