//! Somebody connects to the workload.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::answer::Answer;
use super::{Caller, Request};
use crate::config::{CertificateSource, Config, Looking};
use crate::model::{Decided, Direction, Reason, TUNNEL_PORT, Tier, Verdict, normalize};
use crate::policy::{Asked, Call, Content, PlainText, Prospect};

const HOOK: &str = "sk_lookup";
const PROXY: &str = "proxy";

/// What becomes of a call.
pub(super) fn explain(config: &Config, caller: &Caller, destination: SocketAddr) -> Answer {
    let port = destination.port();
    let client = caller.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let who = [caller.identity.as_ref().map(ToString::to_string), caller.address.map(|it| it.to_string())];
    let from = who.into_iter().flatten().collect::<Vec<_>>().join(" at ");
    let to = if destination.ip().is_unspecified() { format!(":{port}") } else { destination.to_string() };
    let mut answer = Answer::new(Direction::Inbound, from, to);
    let own = config.identity.as_ref().and_then(|settings| settings.id.as_ref());
    answer.destination_identity = own.map(ToString::to_string);
    answer.certificate = config.identity.as_ref().map(|settings| source(&settings.source));
    if caller.address.is_none() {
        answer.step(
            "question",
            "no address of the caller is given: 0.0.0.0 stands for it where policies ask for one",
        );
    }
    if destination.ip().is_unspecified() {
        answer.step(
            "question",
            "no address of the workload is given: 0.0.0.0 stands for it where policies ask for one",
        );
    }
    match &caller.identity {
        Some(identity) => {
            answer.source_identity = Some(identity.to_string());
            if config.identity.is_none() {
                answer.step(HOOK, "the workload has no identity, and so no tunnel");
                return answer.denied(Reason::PortNotCaptured, "connection refused");
            }
            answer.step(
                HOOK,
                format!("port {TUNNEL_PORT} is the tunnel's: steered to the instance, which asks who it is"),
            );
            answer.step(PROXY, format!("mutual TLS proves {identity}"));
        }
        None => match plain_text(config, client, destination, answer) {
            Ok(going_on) => answer = going_on,
            Err(decided) => return *decided,
        },
    }
    let asked = match &caller.request {
        None => Content::Opaque,
        Some(request) => {
            let Request { method, host, path, headers } = request;
            let written = path.split('?').next().unwrap_or_default();
            match normalize(written, config.path_form) {
                Ok(normal) => {
                    if normal != written {
                        answer.step(PROXY, format!("policies compare the path {written} as {normal}"));
                    }
                    let host = host.as_deref();
                    let asked = Asked { method, host, path: &normal, headers };
                    return decide(config, caller, client, destination, Content::Http(asked), answer);
                }
                Err(error) => {
                    answer.step(PROXY, format!("the path is ambiguous: {error}"));
                    return answer.denied(Reason::Policy, "400");
                }
            }
        }
    };
    decide(config, caller, client, destination, asked, answer)
}

/// What holds for plain text, whatever it says: in the kernel, and where the instance accepts.
fn plain_text(
    config: &Config,
    client: IpAddr,
    destination: SocketAddr,
    mut answer: Answer,
) -> Result<Answer, Box<Answer>> {
    let port = destination.port();
    if client.is_loopback() || client == destination.ip() && !client.is_unspecified() {
        answer.step(HOOK, "the caller is the workload itself: policy is not asked");
        let reason = if client.is_loopback() { Reason::Loopback } else { Reason::OwnAddress };
        return Err(Box::new(answer.passed(Verdict::Direct, reason, Tier::Direct)));
    }
    if !config.inbound_ports().contains(port) {
        answer.step(HOOK, format!("port {port} is not captured: policy is not asked"));
        return Err(Box::new(answer.passed(Verdict::Direct, Reason::PortNotCaptured, Tier::Direct)));
    }
    if !config.mutual_tls.may_admit_plain_text(port) {
        answer.step(HOOK, format!("mutual TLS is demanded at port {port}, and no probe is declared for it"));
        return Err(Box::new(answer.denied(Reason::PlainText, "connection refused")));
    }
    let denials = config.authorization.plain_text_denials(&config.mutual_tls.probed_ports());
    if let (Verdict::Deny, reason) = denials.table.decide(SocketAddr::new(client, port)) {
        if let Prospect::Decided(decided) = config.authorization.prospect(None, client, destination) {
            answer.says(&decided);
        }
        answer.step(
            HOOK,
            "policy denies this plain text, whatever it says: refused before there is a connection",
        );
        return Err(Box::new(answer.denied(reason, "connection refused")));
    }
    answer.step(HOOK, format!("port {port} is captured: steered to the instance"));
    match config.mutual_tls.plain_text(port, client) {
        PlainText::Admitted => answer.step(PROXY, format!("port {port} takes plain text from there")),
        PlainText::Probing(_) => {
            answer.step(
                PROXY,
                format!("mutual TLS is demanded at port {port}: only what is declared as a probe is let in"),
            );
            return Err(Box::new(answer.denied(Reason::PlainText, "reset, unless it is that probe")));
        }
        PlainText::Refused => {
            answer.step(
                PROXY,
                format!("mutual TLS is demanded at port {port}, and no probe is declared from there"),
            );
            return Err(Box::new(answer.denied(Reason::PlainText, "reset")));
        }
    }
    Ok(answer)
}

/// What policy says where the instance asks it.
fn decide(
    config: &Config,
    caller: &Caller,
    client: IpAddr,
    destination: SocketAddr,
    content: Content<'_>,
    mut answer: Answer,
) -> Answer {
    let source = caller.identity.as_ref();
    let said = || config.authorization.decide(&Call { source, client, destination, content });
    let (decided, whole, open) = match config.authorization.prospect(source, client, destination) {
        Prospect::Decided(decided) if !decided.ruling.is_allowed() => (decided, true, false),
        Prospect::Decided(_) => (said(), false, false),
        Prospect::ByContent => (said(), false, true),
    };
    answer.says(&decided);
    answer.step(PROXY, sentence(&decided, config));
    let http = matches!(content, Content::Http(_));
    if !http && open {
        let message = "requests are decided one by one: that is of a connection that is not HTTP; ask with --method and --path";
        answer.step(PROXY, message);
    }
    if !decided.ruling.is_allowed() {
        let answered = match (whole, source.is_some(), http) {
            (true, true, _) => "401 on the tunnel",
            (false, _, true) => "403 (gRPC: PERMISSION_DENIED)",
            (true, false, _) | (false, _, false) => "reset",
        };
        return answer.denied(Reason::Policy, answered);
    }
    // Policies that look into requests make the instance look too.
    let looked = open || config.http.as_ref().is_some_and(|http| http.inbound != Looking::Off);
    let tier = match (http && looked, source.is_some()) {
        (true, _) => Tier::Http,
        (false, true) => Tier::Tunnel,
        (false, false) => Tier::Relay,
    };
    let reason = if source.is_some() { Reason::Tunnel } else { Reason::Default };
    answer.passed(Verdict::Proxy, reason, tier)
}

/// What policy says, in words.
fn sentence(decided: &Decided, config: &Config) -> String {
    match (decided.ruling.is_allowed(), decided.ruling.rule()) {
        (true, None) if config.authorization.is_empty() => "no policy is meant for the workload".to_owned(),
        (true, None) => "nothing denies it, and no policy that allows is meant for the workload".to_owned(),
        (true, Some(rule)) => format!("nothing denies it, and {rule} allows it"),
        (false, None) => {
            "policies that allow are meant for the workload, and no rule of theirs matches".to_owned()
        }
        (false, Some(rule)) => format!("{rule} denies it"),
    }
}

/// Where a certificate comes from.
pub(super) fn source(source: &CertificateSource) -> String {
    match source {
        CertificateSource::Files(path) => format!("files {}", path.display()),
        CertificateSource::WorkloadApi(path) => format!("workload-api {}", path.display()),
        CertificateSource::SigningCa { directory, .. } => format!("signing-ca {}", directory.display()),
    }
}
