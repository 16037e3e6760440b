//! `sidestep certs`: asks a running instance how its certificates stand, and prints that.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use jiff::{Timestamp, Unit};
use tokio::net::TcpStream;

use crate::agent::moment::away;
use crate::cli::{CertsArgs, Form};
use crate::identity::Standing;

/// How long the instance may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of an answer.
const LARGEST: usize = 1 << 20;

/// Asks and prints.
///
/// # Errors
/// Nobody answers there, or the workload has no certificate.
pub(super) async fn show(args: CertsArgs) -> Result<()> {
    let answered = tokio::time::timeout(PATIENCE, ask(args.admin)).await;
    let text = answered.with_context(|| format!("no answer from {} within five seconds", args.admin))??;
    let standing: Standing = serde_json::from_slice(&text).context("read the instance's answer")?;
    match args.form() {
        Form::Json => println!("{}", serde_json::to_string(&standing)?),
        Form::Table => print!("{}", table(&standing, Timestamp::now())),
    }
    Ok(())
}

async fn ask(admin: SocketAddr) -> Result<Bytes> {
    let remedy = "is the instance running, and is that the admin.address of its configuration?";
    let stream = TcpStream::connect(admin).await.with_context(|| format!("connect to {admin}; {remedy}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get("/certs").header(HOST, admin.to_string()).body(Empty::<Bytes>::new())?;
    let driver = tokio::spawn(connection);
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST).collect().await;
        anyhow::Ok((status, body.map_err(|error| anyhow!(error))?.to_bytes()))
    };
    let exchanged = exchange.await.with_context(|| format!("ask {admin} for its certificates"));
    driver.abort();
    let (status, body) = exchanged?;
    if status != StatusCode::OK {
        bail!("{admin} answered {status}: {}", String::from_utf8_lossy(&body).trim_end());
    }
    Ok(body)
}

/// Two columns, one line per fact.
fn table(standing: &Standing, now: Timestamp) -> String {
    let mut rows = vec![
        ("identity".to_owned(), standing.identity.clone()),
        ("issuer".to_owned(), standing.issuer.clone()),
        ("serial".to_owned(), standing.serial.clone()),
        ("valid from".to_owned(), moment(standing.not_before, now)),
        ("valid until".to_owned(), moment(standing.not_after, now)),
        ("next rotation".to_owned(), moment(standing.next_rotation, now)),
        ("rotations".to_owned(), format!("{}, {} failures", standing.rotations, standing.failures)),
    ];
    for (domain, bundle) in &standing.bundles {
        let expiry = bundle
            .earliest_expiry
            .map_or_else(String::new, |time| format!(", first until {}", moment(time, now)));
        let noun = if bundle.authorities == 1 { "authority" } else { "authorities" };
        rows.push((format!("believes {domain}"), format!("{} {noun}{expiry}", bundle.authorities)));
    }
    for list in &standing.revocation_lists {
        let until =
            list.next_update.map_or_else(String::new, |time| format!(", until {}", moment(time, now)));
        rows.push((
            "revocation list".to_owned(),
            format!("{} revoked by {}{until}", list.revoked, list.issuer),
        ));
    }
    if let Some(failure) = &standing.last_failure {
        let state = if failure.recovered { "recovered" } else { "lasting" };
        rows.push((
            "last failure".to_owned(),
            format!("{} ({state}): {}", moment(failure.time, now), failure.message),
        ));
    }
    if let Some(reason) = &standing.unavailable {
        rows.push(("unavailable".to_owned(), reason.clone()));
    }
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter().map(|(name, value)| format!("{name:width$}  {value}\n")).collect()
}

/// A time, and how far away it is.
fn moment(time: Timestamp, now: Timestamp) -> String {
    let shown = time.round(Unit::Second).unwrap_or(time);
    format!("{shown} ({})", away(time, now))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::net::TcpListener;

    use super::*;
    use crate::identity::{BundleStanding, Failure, ListStanding};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn standing() -> Standing {
        let bundle = |authorities| BundleStanding { authorities, earliest_expiry: Some(at(3600 * 24 * 400)) };
        Standing {
            identity: "spiffe://cluster.local/ns/shop/sa/web".to_owned(),
            issuer: "CN=root".to_owned(),
            serial: "2a".to_owned(),
            not_before: at(-60),
            not_after: at(86_340),
            next_rotation: at(43_000),
            bundles: BTreeMap::from([
                ("cluster.local".to_owned(), bundle(1)),
                ("partner.org".to_owned(), bundle(2)),
            ]),
            revocation_lists: vec![ListStanding {
                issuer: "CN=root".to_owned(),
                revoked: 3,
                next_update: None,
            }],
            unavailable: None,
            last_failure: Some(Failure { message: "no file".to_owned(), time: at(-5), recovered: true }),
            rotations: 2,
            failures: 1,
        }
    }

    #[test]
    fn the_table_says_everything_in_two_columns() {
        let expected = "\
identity                spiffe://cluster.local/ns/shop/sa/web
issuer                  CN=root
serial                  2a
valid from              2027-01-15T07:59:00Z (1m ago)
valid until             2027-01-16T07:59:00Z (in 23h 59m)
next rotation           2027-01-15T19:56:40Z (in 11h 56m)
rotations               2, 1 failures
believes cluster.local  1 authority, first until 2028-02-19T08:00:00Z (in 400d 0h)
believes partner.org    2 authorities, first until 2028-02-19T08:00:00Z (in 400d 0h)
revocation list         3 revoked by CN=root
last failure            2027-01-15T07:59:55Z (5s ago) (recovered): no file
";
        assert_eq!(table(&standing(), at(0)), expected);
    }

    #[test]
    fn json_is_read_back_as_it_was_written() {
        let text = serde_json::to_string(&standing()).unwrap();
        assert_eq!(serde_json::from_str::<Standing>(&text).unwrap(), standing());
    }

    #[tokio::test]
    async fn an_instance_without_certificates_is_quoted_and_nobody_is_a_remedy() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let admin = crate::admin::Admin {
            readiness: crate::admin::Readiness::default(),
            metrics: Box::new(|_| None),
            certificates: Box::new(|| None),
        };
        let serving = tokio::spawn(crate::admin::serve(listener, admin).unwrap());
        let error = ask(address).await.unwrap_err().to_string();
        assert!(error.contains("404") && error.contains("configure identity"), "{error}");
        serving.abort();
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = silent.local_addr().unwrap();
        drop(silent);
        assert!(ask(address).await.unwrap_err().to_string().contains("is the instance running"));
    }
}
