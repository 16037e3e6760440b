//! What a workload says of itself (W3C Baggage, with the keys of OpenTelemetry's resource conventions).
//!
//! Whoever proved an identity may still say anything here: it is good for logs and metrics, never for a decision.

use std::fmt::Write as _;

use crate::model::Identity;

/// Most bytes that are looked at, and most of a value that is kept.
const LONGEST: usize = 4096;
const LONGEST_VALUE: usize = 256;

/// Names of a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::proxy) struct Baggage {
    pub(in crate::proxy) namespace: Option<String>,
    pub(in crate::proxy) workload: Option<String>,
}

/// What we say: `k8s.namespace.name` out of our identity, `k8s.pod.name` and `service.name`.
pub(in crate::proxy) fn say(identity: &Identity, workload: &str) -> String {
    let mut said = String::new();
    let pairs = [
        ("k8s.namespace.name", identity.namespace()),
        ("k8s.pod.name", workload),
        ("service.name", workload),
        ("service.version", env!("CARGO_PKG_VERSION")),
    ];
    for (key, value) in pairs {
        if !said.is_empty() {
            said.push(',');
        }
        said.push_str(key);
        said.push('=');
        for byte in value.bytes() {
            // baggage-octet (W3C Baggage, section 3.3.1.1) without what would have to be escaped.
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                said.push(char::from(byte));
            } else {
                let _ = write!(said, "%{byte:02X}");
            }
        }
    }
    said
}

/// What another said. Whatever is not understood is left out.
pub(in crate::proxy) fn hear(said: &[u8]) -> Baggage {
    let mut heard = Baggage::default();
    let Ok(text) = std::str::from_utf8(&said[..said.len().min(LONGEST)]) else { return heard };
    for member in text.split(',') {
        // Properties behind the value are nobody's business here.
        let pair = member.split(';').next().unwrap_or(member);
        let Some((key, value)) = pair.split_once('=') else { continue };
        let value = || unescape(value.trim());
        match key.trim() {
            "k8s.namespace.name" => heard.namespace = value(),
            "k8s.deployment.name" | "k8s.statefulset.name" | "k8s.job.name" | "k8s.cronjob.name" => {
                heard.workload = value();
            }
            "k8s.pod.name" if heard.workload.is_none() => heard.workload = value(),
            _ => {}
        }
    }
    heard
}

/// A value with its percent escapes resolved; `None` if that leaves no printable text.
fn unescape(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2)?;
        let digits =
            std::str::from_utf8(digits).ok().filter(|it| it.bytes().all(|it| it.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = behind;
    }
    let text = String::from_utf8(bytes).ok()?;
    let good = (1..=LONGEST_VALUE).contains(&text.len()) && !text.chars().any(char::is_control);
    good.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_heard() {
        let identity = "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap();
        let said = say(&identity, "web 1,2=ü");
        assert!(said.bytes().all(|byte| byte.is_ascii_graphic()), "{said}");
        let heard = hear(said.as_bytes());
        assert_eq!(
            heard,
            Baggage { namespace: Some("shop".to_owned()), workload: Some("web 1,2=ü".to_owned()) }
        );
    }

    #[test]
    fn istios_form_is_understood_and_nonsense_is_left_out() {
        let heard =
            hear(b"k8s.cluster.name=K, k8s.namespace.name=NS;p=1 ,k8s.deployment.name=D,service.name=S");
        assert_eq!(heard, Baggage { namespace: Some("NS".to_owned()), workload: Some("D".to_owned()) });
        for nonsense in [
            "",
            "k8s.pod.name",
            "k8s.pod.name=",
            "k8s.pod.name=%",
            "k8s.pod.name=%0",
            "k8s.pod.name=%0a",
            "k8s.pod.name=%+1",
        ] {
            assert_eq!(hear(nonsense.as_bytes()), Baggage::default(), "{nonsense}");
        }
        assert_eq!(hear(&[0xff; 100]), Baggage::default());
        let long = format!("k8s.pod.name={}", "x".repeat(LONGEST_VALUE + 1));
        assert_eq!(hear(long.as_bytes()), Baggage::default());
    }
}
