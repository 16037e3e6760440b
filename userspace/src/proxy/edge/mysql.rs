//! TLS towards a MySQL or MariaDB server for an app that speaks none.
//!
//! The server greets first and says that it takes TLS; the app is shown the greeting without that. Its answer goes out in two:
//! the part that asks for TLS in plain text, and all of it again within TLS. That is one packet more than the app knows of, so
//! that until the login is over every sequence number is one off, both ways. A server that takes no TLS is refused.

mod packet;

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::originate::Call;
use super::{Refusal, Secured, exact};
use crate::model::Side;
use packet::{Greeting, HEADER, Packet, greeting, header, response};

/// Packets of one login, both ways together. Three are usual; a plug-in may ask several questions.
const MOST_PACKETS: usize = 64;

/// A connection whose login is over, or none if the app went before it said anything.
///
/// # Errors
/// The server cannot be had with TLS, or one of both does not speak the protocol.
pub(super) async fn secure(call: &mut Call<'_>) -> Result<Option<Secured>, Refusal> {
    let answering = |call: &Call<'_>, sequence: u8, refusal: Refusal| {
        let answer = Packet::error(sequence, &call.apology(&refusal)).bytes();
        Refusal { answer: Some(answer), ..refusal }
    };
    let server = match greet(call).await {
        Ok(server) => server,
        Err(refusal) => return Err(answering(call, 0, refusal)),
    };
    let reading = async {
        let mut head = [0; HEADER];
        if exact::read(call.app, &mut head).await? {
            read_rest(call.app, head).await.map(Some)
        } else {
            Ok(None)
        }
    };
    let Some(mut said) = call.within(Side::Workload, "read from client", reading).await? else {
        return Ok(None);
    };
    match enter(call, server, &mut said).await {
        Ok(mut secured) => {
            log_in(call, &mut secured).await?;
            Ok(Some(secured))
        }
        Err(refusal) => Err(answering(call, said.sequence.wrapping_add(1), refusal)),
    }
}

/// Hands the server's greeting on without its offer of TLS, which must be there.
async fn greet(call: &mut Call<'_>) -> Result<TcpStream, Refusal> {
    let server = call.reach().await?;
    let reading = async {
        let mut head = [0; HEADER];
        if !exact::read(&server, &mut head).await? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        read_rest(&server, head).await
    };
    let mut hello = call.within(Side::Peer, "read greeting", reading).await?;
    let wrong = |message: String| Refusal::new(Side::Peer, "read greeting", message);
    match greeting(&mut hello.payload).map_err(|malformed| wrong(malformed.to_string()))? {
        Greeting::Secure => {}
        Greeting::Plain => {
            return Err(wrong(
                "expected a server that speaks TLS, found one that offers none; give it a certificate"
                    .to_owned(),
            ));
        }
        Greeting::Refusal => {
            let said = String::from_utf8_lossy(hello.payload.get(3..).unwrap_or_default()).into_owned();
            return Err(wrong(format!("the server takes nobody: {said}")));
        }
    }
    let bytes = hello.bytes();
    call.within(Side::Workload, "write to client", exact::write(call.app, &bytes)).await?;
    call.record.traffic().received += bytes.len() as u64;
    Ok(server)
}

/// Asks for TLS, and says within it what the app said.
async fn enter(call: &mut Call<'_>, server: TcpStream, said: &mut Packet) -> Result<Secured, Refusal> {
    let request = response(&mut said.payload)
        .map_err(|malformed| Refusal::new(Side::Workload, "read from client", malformed.to_string()))?;
    let request = Packet { sequence: said.sequence, payload: request.to_vec() }.bytes();
    call.within(Side::Peer, "ask for TLS", exact::write(&server, &request)).await?;
    let mut secured = call.shake_hands(server).await?;
    send(call, &mut secured, said).await?;
    Ok(secured)
}

/// Hands packets on, each with the number that its reader expects, until the server says that the login is over.
async fn log_in(call: &mut Call<'_>, secured: &mut Secured) -> Result<(), Refusal> {
    for _ in 0..MOST_PACKETS / 2 {
        let reading = async {
            let mut head = [0; HEADER];
            secured.read_exact(&mut head).await?;
            let (length, sequence) = header(head).map_err(malformed)?;
            let mut payload = vec![0; length];
            secured.read_exact(&mut payload).await?;
            Ok(Packet { sequence, payload })
        };
        let mut answered = call.within(Side::Peer, "read from upstream", reading).await?;
        answered.sequence = answered.sequence.wrapping_sub(1);
        let bytes = answered.bytes();
        call.within(Side::Workload, "write to client", exact::write(call.app, &bytes)).await?;
        call.record.traffic().received += bytes.len() as u64;
        if answered.ends_authentication() {
            return Ok(());
        }
        let reading = async {
            let mut head = [0; HEADER];
            if exact::read(call.app, &mut head).await? {
                read_rest(call.app, head).await
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
        };
        let said = call.within(Side::Workload, "read from client", reading).await?;
        send(call, secured, &said).await?;
    }
    let message = format!("expected a login of at most {MOST_PACKETS} packets, found a longer one");
    Err(Refusal::new(Side::Peer, "log in", message))
}

/// Says within TLS what the app said, with the next number.
async fn send(call: &mut Call<'_>, secured: &mut Secured, said: &Packet) -> Result<(), Refusal> {
    let bytes = Packet { sequence: said.sequence.wrapping_add(1), payload: said.payload.clone() }.bytes();
    let writing = async {
        secured.write_all(&bytes).await?;
        secured.flush().await
    };
    call.within(Side::Peer, "write to upstream", writing).await?;
    call.record.traffic().sent += bytes.len() as u64;
    Ok(())
}

/// The packet that begins with `head`.
async fn read_rest(stream: &TcpStream, head: [u8; HEADER]) -> io::Result<Packet> {
    let (length, sequence) = header(head).map_err(malformed)?;
    let mut payload = vec![0; length];
    if !exact::read(stream, &mut payload).await? {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Packet { sequence, payload })
}

fn malformed(malformed: packet::Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, malformed)
}
