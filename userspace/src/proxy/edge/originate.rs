//! TLS added to a connection of an app that speaks none, towards a service elsewhere.
//!
//! In plain text nothing goes out but what the service's protocol wants there in front of TLS. If the service cannot be had
//! with TLS, by the name and the authorities that were configured, the app is told so in its own protocol where that can be.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use socket2::{SockRef, Socket};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::pump::{Truncation, pump};
use super::reach::reach;
use super::{Arrived, Negotiation, Origination, Refusal, Secured, Wire, exact, fail, mysql, open, postgres};
use crate::model::{Direction, Fault, Side};
use crate::proxy::connection::blame;
use crate::proxy::dial::{gone, late};
use crate::proxy::instance::{Alive, Instance};
use crate::proxy::leg::Leg;
use crate::proxy::record::Record;
use crate::proxy::relay::{Broken, End, scratch};

/// How long an app has to take in why there is nothing to be had.
const FAREWELL: Duration = Duration::from_secs(1);
/// Bytes of an app that are read after that, so that closing does not take the answer away from it (RFC 1122, 4.2.2.13).
const UNREAD: usize = 256 << 10;

/// Serves a connection to its end.
pub(super) async fn serve(alive: &Alive, origination: &Origination, arrived: Arrived) {
    let instance = &*alive.instance;
    let mut record = open(alive, Direction::Outbound, &arrived);
    let Arrived { seat, stream, second, client, local } = arrived;
    let leg = Leg::new(stream);
    let limits = instance.limits();
    let mut call = Call {
        instance,
        app: &leg,
        local,
        at_hand: Some(second),
        origination,
        record: &mut record,
        patience: limits.connect_timeout,
    };
    let secured = tokio::select! {
        biased;
        secured = call.secure() => secured,
        gone = gone(&leg) => Err(Fault::new(Side::Workload, "wait for upstream", gone).into()),
    };
    let mut secured = match secured {
        Ok(Some(secured)) => secured,
        Ok(None) => {
            leg.end();
            return record.close();
        }
        Err(refusal) => {
            say(leg, refusal.answer.as_deref()).await;
            return fail(instance, record, client, refusal);
        }
    };
    let truncation = match origination.negotiation {
        Negotiation::AtOnce => Truncation::Reset,
        // Both say themselves where they end, and MariaDB closes without a word of TLS.
        Negotiation::Postgres | Negotiation::Mysql => Truncation::End,
    };
    match pump(&leg, End::Client, &mut secured, truncation, limits.idle_timeout, record.traffic()).await {
        Ok(()) => {
            leg.end();
            drop(secured);
            record.close();
        }
        Err(Broken { end, doing, source }) => {
            drop(leg);
            secured.get_ref().0.reset();
            drop(secured);
            let fault = Fault::new(blame(end, Direction::Outbound), doing, source);
            tracing::debug!(%fault, %client, remote = %origination.remote, "connection at the edge broke");
            record.fail(fault);
        }
    }
    drop(seat);
}

/// Says why there is nothing to be had to an app that understands it, and resets the connection of any other.
async fn say(leg: Leg, answer: Option<&[u8]>) {
    let Some(answer) = answer else { return };
    let saying = async {
        exact::write(&leg, answer).await?;
        SockRef::from(&*leg).shutdown(Shutdown::Write)?;
        let mut unread = 0;
        while unread < UNREAD {
            leg.readable().await?;
            match scratch::with(|buffer| leg.try_read(buffer)) {
                Ok(0) => return Ok(()),
                Ok(more) => unread += more,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    };
    if let Ok(Ok(())) = timeout(FAREWELL, saying).await {
        leg.end();
    }
}

/// What a protocol needs to begin.
pub(super) struct Call<'a> {
    instance: &'a Instance,
    /// The app.
    pub(super) app: &'a TcpStream,
    local: SocketAddr,
    at_hand: Option<Socket>,
    origination: &'a Origination,
    pub(super) record: &'a mut Record,
    patience: Duration,
}

impl Call<'_> {
    async fn secure(&mut self) -> Result<Option<Secured>, Refusal> {
        match self.origination.negotiation {
            Negotiation::AtOnce => {
                let server = self.reach().await?;
                Ok(Some(self.shake_hands(server).await?))
            }
            Negotiation::Postgres => postgres::secure(self).await,
            Negotiation::Mysql => mysql::secure(self).await,
        }
    }

    /// A connection to the service, in plain text.
    pub(super) async fn reach(&mut self) -> Result<TcpStream, Refusal> {
        let (remote, patience) = (&self.origination.remote, self.patience);
        reach(self.instance, remote, self.local, self.at_hand.take(), patience, self.record).await
    }

    /// TLS with the service, which has proved to be who it should.
    pub(super) async fn shake_hands(&self, server: TcpStream) -> Result<Secured, Fault> {
        let name = &self.origination.server_name;
        let shaking = async {
            let connector = TlsConnector::from((self.origination.tls)());
            let shaken = connector.connect(name.clone(), Wire::new(server)).await;
            shaken.map_err(|error| {
                io::Error::new(error.kind(), format!("{error} (server-name {})", name.to_str()))
            })
        };
        self.within(Side::Peer, "secure connection", shaking).await
    }

    /// Waits for one step, for as long as a dial may take.
    pub(super) async fn within<T>(
        &self,
        side: Side,
        doing: &'static str,
        step: impl Future<Output = io::Result<T>>,
    ) -> Result<T, Fault> {
        let done = timeout(self.patience, step).await.unwrap_or_else(|_elapsed| Err(late(self.patience)));
        done.map_err(|source| Fault::new(side, doing, source))
    }

    /// What an app is told.
    pub(super) fn apology(&self, refusal: &Refusal) -> String {
        format!("sidestep: no TLS connection to {}: {}", self.origination.remote, refusal.fault)
    }
}
