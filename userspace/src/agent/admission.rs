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
