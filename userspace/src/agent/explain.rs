//! `sidestep explain`: what becomes of a connection or a request, and what says so.
//!
//! Of a configuration file it is found with the code that decides when it is in force, in the order in which that is asked;
//! nothing is looked at but the file and what it names. Of a connection that is open the instance that carries it is asked. What the kernel knows of its own (the addresses of the namespace, who
//! listens) is not known here.

mod answer;
mod inbound;
mod outbound;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, bail};
use http::HeaderMap;

use crate::agent::connections;
use crate::cli::{Destination, ExplainArgs, Form, Header, Who};
use crate::config::{self, Config};
use crate::model::{Identity, TrustDomain};
use answer::Answer;

/// A call of somebody.
#[derive(Debug)]
struct Caller {
    /// Who it proves to be; nobody in plain text.
    identity: Option<Identity>,
    /// Where it comes from, if that is said.
    address: Option<IpAddr>,
    /// What it asks for, if it is HTTP.
    request: Option<Request>,
}

/// A request.
#[derive(Debug)]
struct Request {
    method: String,
    host: Option<String>,
    path: String,
    headers: HeaderMap,
}

/// Decides and prints.
///
/// # Errors
/// The configuration is not valid, or what is asked does not fit it.
pub(super) async fn explain(args: ExplainArgs) -> Result<()> {
    if let Some(id) = args.connection {
        return connections::explain(id, &args.running).await;
    }
    let form = args.running.form();
    let file = args.config.as_ref().context("expected --config")?;
    let answer = answer(&config::load(file)?, args)?;
    match form {
        Form::Json => println!("{}", serde_json::to_string(&answer)?),
        Form::Table => print!("{answer}"),
    }
    Ok(())
}

/// What a configuration says.
fn answer(config: &Config, args: ExplainArgs) -> Result<Answer> {
    let to = args.to.clone().context("expected --to")?;
    if args.from.is_empty() {
        return outbound::explain(config, destination(config, &to)?);
    }
    let destination = match to {
        Destination::Port(port) => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port),
        Destination::Address(address) => SocketAddr::new(address.ip().to_canonical(), address.port()),
        Destination::Service(name, _) => {
            bail!(
                "expected an address of the workload itself, or :PORT, beside --from, found the name {name}"
            )
        }
    };
    Ok(inbound::explain(config, &caller(config, args)?, destination))
}

/// The address that is dialled.
fn destination(config: &Config, to: &Destination) -> Result<SocketAddr> {
    match to {
        Destination::Address(address) => Ok(*address),
        Destination::Port(port) => bail!("expected --from, or an address in front of :{port}, found neither"),
        Destination::Service(name, port) => {
            let service = config.directory.service_named(name).ok().flatten();
            let address = service.and_then(|service| service.addresses.first());
            let address =
                address.with_context(|| format!("expected a hostname of services, found {name:?}"))?;
            Ok(SocketAddr::new(*address, *port))
        }
    }
}

fn caller(config: &Config, args: ExplainArgs) -> Result<Caller> {
    let (mut identity, mut address) = (None, None);
    for who in args.from {
        let twice = match who {
            Who::Address(it) => address.replace(it.to_canonical()).is_some(),
            Who::Identity(it) => identity.replace(it).is_some(),
            Who::Account(namespace, account) => {
                let own = config.identity.as_ref().and_then(|settings| settings.id.as_ref());
                let own = own
                    .context("expected a SPIFFE ID, since the file has no identity.id with a trust domain")?;
                let domain: TrustDomain = own.trust_domain().parse()?;
                identity.replace(Identity::new(&domain, &namespace, &account)?).is_some()
            }
        };
        if twice {
            bail!("expected at most one identity and one address for --from, found two of a kind");
        }
    }
    let asked =
        args.method.is_some() || args.path.is_some() || args.host.is_some() || !args.header.is_empty();
    let request = asked.then(|| Request {
        method: args.method.unwrap_or_else(|| "GET".to_owned()),
        host: args.host,
        path: args.path.unwrap_or_else(|| "/".to_owned()),
        headers: args.header.into_iter().map(|Header(name, value)| (name, value)).collect(),
    });
    Ok(Caller { identity, address, request })
}

#[cfg(test)]
mod tests;
