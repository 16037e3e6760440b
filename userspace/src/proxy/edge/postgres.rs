//! TLS towards a PostgreSQL server for an app that speaks none: asked for with an `SSLRequest`, or there is no connection.
//!
//! An app that asks for encryption itself is told that there is none, and goes on without, as with `sslmode=prefer`. A server that
//! answers anything but yes is refused: what follows never goes out in plain text.

mod message;

use tokio::io::AsyncWriteExt;

use super::originate::Call;
use super::{Refusal, Secured, exact};
use crate::model::Side;
use message::{HEADER, Opening, TLS_REQUEST, fatal, opening};

/// How often an app may ask for encryption: once for each kind.
const MOST_REQUESTS: usize = 2;

/// A connection that has begun, or none if the app went before it said anything.
///
/// # Errors
/// The server cannot be had with TLS, or the app is no PostgreSQL client.
pub(super) async fn secure(call: &mut Call<'_>) -> Result<Option<Secured>, Refusal> {
    let secured = reach(call).await;
    // The app is heard even if there is nothing to be had: only then can it be told.
    let Some(header) = call.within(Side::Workload, "read from client", begin(call)).await? else {
        return Ok(None);
    };
    let mut secured =
        secured.map_err(|refusal| Refusal { answer: Some(fatal(&call.apology(&refusal))), ..refusal })?;
    let written = async {
        secured.write_all(&header).await?;
        secured.flush().await
    };
    call.within(Side::Peer, "write to upstream", written).await?;
    call.record.traffic().sent += HEADER as u64;
    Ok(Some(secured))
}

/// TLS with the server.
async fn reach(call: &mut Call<'_>) -> Result<Secured, Refusal> {
    let server = call.reach().await?;
    let mut answer = [0];
    let asked = async {
        exact::write(&server, &TLS_REQUEST).await?;
        // Not one byte more: what stands behind the answer in plain text must not pass for the beginning of TLS.
        exact::read(&server, &mut answer).await
    };
    let answered = call.within(Side::Peer, "ask for TLS", asked).await?;
    match answer {
        [b'S'] if answered => Ok(call.shake_hands(server).await?),
        [b'N'] if answered => Err(Refusal::new(
            Side::Peer,
            "ask for TLS",
            "expected a server that speaks TLS, found one that declines it; set ssl = on there",
        )),
        _ => Err(Refusal::new(
            Side::Peer,
            "ask for TLS",
            "expected the answer of a PostgreSQL server to SSLRequest, found something else",
        )),
    }
}

/// The first message of the app that is not about encryption.
async fn begin(call: &Call<'_>) -> std::io::Result<Option<[u8; HEADER]>> {
    let mut header = [0; HEADER];
    for asked in 0..=MOST_REQUESTS {
        if !exact::read(call.app, &mut header).await? {
            return Ok(None);
        }
        match opening(header).map_err(std::io::Error::other)? {
            Opening::Startup => return Ok(Some(header)),
            Opening::Encryption if asked < MOST_REQUESTS => exact::write(call.app, b"N").await?,
            Opening::Encryption => break,
        }
    }
    let message = "expected a client that goes on without encryption, found one that asks for it again";
    Err(std::io::Error::new(std::io::ErrorKind::InvalidData, message))
}
