//! Who may connect to the workload, what they may ask, and where the instance may go for it: what policy decides, asked by the
//! instance for every connection and every request.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context, Result};
use http::Method;
use http::header::HOST;

use crate::config::Config;
use crate::model::{AmbiguousPath, ClientAddr, Decided, OriginalDst, PathForm, Reason, Verdict, normalize};
use crate::policy::{self, Authorization, Call, Compiled, Content, MutualTls, PlainText, Probed, Prospect};
use crate::proxy::{Admission, Admitted, Asked, Caller, Permit, Probing, Refused};

/// The policy in force.
pub(super) struct Gate(RwLock<Arc<Policy>>);

/// What a configuration says of connections.
struct Policy {
    /// Which plain text may come in.
    mutual_tls: MutualTls,
    /// Who may call, and what.
    authorization: Arc<Authorization>,
    /// The form in which it compares paths.
    path_form: PathForm,
    /// Whether it speaks of requests.
    reads_requests: bool,
    /// Whether what it only tells of does.
    tells_of_requests: bool,
    /// Where the workload may go.
    rules: Compiled,
}

impl Policy {
    fn of(config: &Config) -> Result<Self> {
        let authorization = Arc::clone(&config.authorization);
        Ok(Self {
            mutual_tls: config.mutual_tls.clone(),
            path_form: config.path_form,
            reads_requests: authorization.reads_requests(),
            tells_of_requests: authorization.tells_of_requests(),
            authorization,
            rules: config.outbound.rules.compile().context("compile outbound.rules")?,
        })
    }

    /// What is known of a connection that is no offence against mutual TLS.
    fn prospect(&self, caller: Caller<'_>, original: OriginalDst) -> Prospect {
        self.authorization.prospect(caller.identity, caller.client.0.ip().to_canonical(), original.0)
    }

    /// What holds for what is said.
    fn decide(&self, caller: Caller<'_>, original: OriginalDst, content: Content<'_>) -> Decided {
        if self.authorization.is_empty() {
            return Decided::default();
        }
        let (source, client) = (caller.identity, caller.client.0.ip().to_canonical());
        self.authorization.decide(&Call { source, client, destination: original.0, content })
    }

    fn probes(&self, caller: Caller<'_>, original: OriginalDst) -> Option<Arc<dyn Probing>> {
        if caller.identity.is_some() {
            return None;
        }
        let probed = self.mutual_tls.probed(original.0.port(), caller.client.0.ip())?;
        Some(Arc::new(Probes(probed)))
    }
}

impl Gate {
    pub(super) fn new(config: &Config) -> Result<Self> {
        Ok(Self(RwLock::new(Arc::new(Policy::of(config)?))))
    }

    /// Holds what comes from now on to another configuration; [`crate::proxy::Instance::reconsider`] asks again about what is there.
    ///
    /// # Errors
    /// Its rules do not fit together, which a valid configuration's do.
    pub(super) fn publish(&self, config: &Config) -> Result<()> {
        let policy = Arc::new(Policy::of(config)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = policy;
        Ok(())
    }

    /// What policy says of a connection in plain text that it denies whatever it says: what the kernel refuses says it too.
    pub(super) fn said(&self, client: ClientAddr, original: OriginalDst) -> Option<Decided> {
        match self.policy().prospect(Caller { identity: None, client }, original) {
            Prospect::Decided(decided) if !decided.ruling.is_allowed() => Some(decided),
            Prospect::Decided(_) | Prospect::ByContent => None,
        }
    }

    fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Admission for Gate {
    fn admit(&self, caller: Caller<'_>, original: OriginalDst) -> Result<Admitted, Refused> {
        let policy = self.policy();
        if caller.identity.is_none() {
            match policy.mutual_tls.plain_text(original.0.port(), caller.client.0.ip()) {
                PlainText::Admitted => {}
                PlainText::Probing(probed) => {
                    return Ok(Admitted::Probing(Arc::new(Probes(probed)), Refused::PLAIN_TEXT));
                }
                PlainText::Refused => return Err(Refused::PLAIN_TEXT),
            }
        }
        if policy.authorization.is_empty() {
            return Ok(Admitted::Fully);
        }
        match policy.prospect(caller, original) {
            Prospect::ByContent => Ok(Admitted::ByContent),
            Prospect::Decided(decided) if !decided.ruling.is_allowed() => {
                let refused = Refused::by_policy(decided);
                match policy.probes(caller, original) {
                    Some(probing) => Ok(Admitted::Probing(probing, refused)),
                    None => Err(refused),
                }
            }
            // What is tried is to be seen doing what it would do.
            Prospect::Decided(_) if policy.tells_of_requests => Ok(Admitted::ByContent),
            Prospect::Decided(_) => Ok(Admitted::Fully),
        }
    }

    fn opaque(&self, caller: Caller<'_>, original: OriginalDst) -> Decided {
        self.policy().decide(caller, original, Content::Opaque)
    }

    fn request(
        &self,
        caller: Caller<'_>,
        original: OriginalDst,
        asked: Asked<'_>,
    ) -> Result<Decided, AmbiguousPath> {
        let policy = self.policy();
        if !policy.reads_requests {
            return Ok(policy.decide(caller, original, Content::Opaque));
        }
        let Asked { method, uri, headers } = asked;
        // CONNECT has no path, and is about none.
        let path = if *method == Method::CONNECT { "*" } else { uri.path() };
        let path = normalize(path, policy.path_form)?;
        let named = || headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = uri.authority().map(http::uri::Authority::as_str).or_else(named);
        let asked = policy::Asked { method: method.as_str(), host, path: &path, headers };
        Ok(policy.decide(caller, original, Content::Http(asked)))
    }

    fn reads_requests(&self) -> bool {
        self.policy().reads_requests
    }

    fn probes(&self, caller: Caller<'_>, original: OriginalDst) -> Option<Arc<dyn Probing>> {
        self.policy().probes(caller, original)
    }

    fn outbound(&self, destination: SocketAddr) -> Result<(), Reason> {
        // Loopback is nobody else's, whatever the rules say: as the kernel's hooks see it.
        if destination.ip().to_canonical().is_loopback() {
            return Ok(());
        }
        match self.policy().rules.decide(destination) {
            (Verdict::Deny, reason) => Err(reason),
            (Verdict::Proxy | Verdict::Direct, _) => Ok(()),
        }
    }
}

/// Probes as the proxy asks about them.
struct Probes(Arc<Probed>);

impl Probing for Probes {
    fn is_touch_only(&self) -> bool {
        self.0.is_touch_only()
    }

    fn permits(&self, method: &str, target: &str) -> Permit {
        match self.0.permits(method, target) {
            policy::Permit::Granted => Permit::Granted,
            policy::Permit::IfItsMessageIs => Permit::IfItsBodyIs,
            policy::Permit::Refused => Permit::Refused,
        }
    }

    fn permits_check(&self, body: &[u8]) -> bool {
        self.0.permits_check(body)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use http::{HeaderMap, Uri};

    use super::*;
    use crate::model::{Identity, Ruling};

    /// A gate that is held to policies of the namespace `shop`, with the rest of a configuration.
    fn gate(policies: &str, rest: &str) -> Gate {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("policies.yaml");
        std::fs::write(&path, policies).expect("written");
        let text = format!(
            "identity: {{ id: spiffe://cluster.local/ns/shop/sa/db, files: /run/certs }}\n\
             policies: [ {} ]\n{rest}",
            path.display()
        );
        let config =
            Config::parse(Path::new("sidestep.yaml"), &text).unwrap_or_else(|error| panic!("{error}"));
        Gate::new(&config).expect("a policy")
    }

    fn law(spec: &str) -> String {
        format!(
            "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n\
             metadata: {{ name: law, namespace: shop }}\nspec: {{ {spec} }}\n"
        )
    }

    fn client() -> ClientAddr {
        ClientAddr("10.0.0.5:40000".parse().unwrap())
    }

    fn at(port: u16) -> OriginalDst {
        OriginalDst(SocketAddr::new([10, 0, 0, 9].into(), port))
    }

    /// How far somebody is let in, in a word.
    fn admitted(gate: &Gate, identity: Option<&str>, port: u16) -> &'static str {
        let identity: Option<Identity> = identity.map(|identity| identity.parse().unwrap());
        let caller = Caller { identity: identity.as_ref(), client: client() };
        match gate.admit(caller, at(port)) {
            Ok(Admitted::Fully) => "fully",
            Ok(Admitted::ByContent) => "by content",
            Ok(Admitted::Probing(_, refused)) if refused.reason == Reason::Policy => "spared probe",
            Ok(Admitted::Probing(..)) => "probe",
            Err(Refused { reason, .. }) => reason.word(),
        }
    }

    const WEB: Option<&str> = Some("spiffe://cluster.local/ns/shop/sa/web");
    const OTHER: Option<&str> = Some("spiffe://cluster.local/ns/other/sa/web");

    #[test]
    fn a_connection_is_let_in_as_far_as_the_policies_agree_on_it() {
        let nothing = gate("", "");
        assert_eq!((admitted(&nothing, None, 80), admitted(&nothing, WEB, 80)), ("fully", "fully"));
        let shop = law("rules: [ { from: [ { source: { namespaces: [ shop ] } } ] } ]");
        let probed = "inbound: { probes: [ { port: 8080, http: [ /healthz ] } ] }\n";
        let gate_of_shop = gate(&shop, probed);
        assert_eq!(admitted(&gate_of_shop, WEB, 80), "fully");
        assert_eq!(admitted(&gate_of_shop, OTHER, 80), "policy");
        assert_eq!(admitted(&gate_of_shop, None, 80), "policy");
        assert_eq!(admitted(&gate_of_shop, None, 8080), "spared probe");
        assert_eq!(admitted(&gate_of_shop, OTHER, 8080), "policy", "whoever has an identity is no probe");
        let said = gate_of_shop.said(client(), at(80)).expect("it says something");
        assert_eq!(said.ruling, Ruling::Denied(None));
        assert_eq!(gate_of_shop.said(client(), at(80)).map(|said| said.would_be), Some(None));
        let reading = law("rules: [ { to: [ { operation: { methods: [ GET ] } } ] } ]");
        assert_eq!(admitted(&gate(&reading, ""), WEB, 80), "by content");
        let tried = reading.replace("law,", "law, annotations: { istio.io/dry-run: 'true' },");
        assert_eq!(admitted(&gate(&tried, ""), WEB, 80), "by content", "what is tried is seen doing it");
        let watched = law("action: AUDIT, rules: [ { to: [ { operation: { paths: [ /a ] } } ] } ]");
        assert_eq!(admitted(&gate(&watched, ""), WEB, 80), "by content");
    }

    #[test]
    fn a_request_is_decided_by_its_path_in_the_form_that_is_configured() {
        let policies = law("action: DENY, rules: [ { to: [ { operation: { paths: [ /admin ] } } ] } ]");
        let denied = |form: &str, path: &str| {
            let gate = gate(&policies, &format!("http: {{ path-normalization: {form} }}\n"));
            let (uri, headers): (Uri, _) = (path.parse().unwrap(), HeaderMap::new());
            let asked = Asked { method: &Method::GET, uri: &uri, headers: &headers };
            let caller = Caller { identity: None, client: client() };
            gate.request(caller, at(80), asked).map(|decided| !decided.ruling.is_allowed())
        };
        for (form, path, expected) in [
            ("none", "/admin", true),
            ("none", "/x/../admin", false),
            ("base", "/x/../admin?y=/z", true),
            ("base", "/%61dmin", true),
            ("base", "//admin", false),
            ("merge-slashes", "//admin", true),
            ("decode-and-merge-slashes", "/%2fadmin", true),
        ] {
            assert_eq!(denied(form, path), Ok(expected), "{form} {path}");
        }
        assert!(denied("base", "/%zz").is_err() && denied("none", "/%00").is_err());
    }
}
