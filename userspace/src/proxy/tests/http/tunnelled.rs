//! HTTP through both ends of a tunnel: parsed twice, secured in between.

use super::super::tunnel::Mesh;
use super::*;
use crate::model::{Protocol, Tier};

fn web() -> Mesh {
    let mesh = Mesh::start();
    mesh.client.instance.set_http(looking());
    mesh.server.instance.set_http(looking());
    mesh
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn a_request_is_told_at_both_ends_with_both_identities() {
    let mesh = web();
    let app = mesh.app().await;
    let mut client = mesh.connect(app.local_addr().unwrap()).await;
    client.write_all(GET.as_bytes()).await.unwrap();
    let (mut served, _) = within(app.accept()).await.unwrap();
    assert!(head(&mut served).await.starts_with("GET / HTTP/1.1\r\nHost: a\r\n"));
    for number in 0..3 {
        let answer = format!("HTTP/1.1 200 OK\r\nX-Case: 1\r\ncontent-length: 1\r\n\r\n{number}");
        served.write_all(answer.as_bytes()).await.unwrap();
        assert_eq!(until(&mut client, &format!("\r\n\r\n{number}")).await, answer);
        client.write_all(GET.as_bytes()).await.unwrap();
        head(&mut served).await;
    }
    served.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    head(&mut client).await;
    let address = ClientAddr(client.local_addr().unwrap());
    drop(client);
    for half in [&mesh.client, &mesh.server] {
        eventually(|| half.seen.exchanged.lock().unwrap().len() == 4).await;
        let told = half.seen.exchanged.lock().unwrap().pop().unwrap();
        assert_eq!(told.client.0.port(), address.0.port());
        assert_eq!(told.source_identity.unwrap().service_account(), "web");
        assert_eq!(told.destination_identity.unwrap().service_account(), "db");
        assert_eq!(told.answer.unwrap().status, 204);
    }
    let ended = mesh.client.ended().await;
    assert_eq!((ended.tier, ended.protocol, ended.requests), (Tier::Http, Some(Protocol::Http1), 4));
    // The connection through the tunnel waits for the next request of whoever asks.
    let mut other = mesh.connect(app.local_addr().unwrap()).await;
    other.write_all(GET.as_bytes()).await.unwrap();
    head(&mut served).await;
    served.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    assert!(head(&mut other).await.starts_with("HTTP/1.1 204"));
}

#[tokio::test]
async fn what_is_no_http_goes_through_the_tunnel_as_before() {
    let mesh = web();
    let app = mesh.app().await;
    let mut client = mesh.connect(app.local_addr().unwrap()).await;
    let (mut served, _) = within(app.accept()).await.unwrap();
    // The server speaks first.
    served.write_all(b"220 ready\r\n").await.unwrap();
    assert_eq!(until(&mut client, "ready\r\n").await, "220 ready\r\n");
    pass(&mut client, &mut served).await;
    drop((client, served));
    assert_eq!(mesh.client.ended().await.tier, Tier::Tunnel);
    assert_eq!(mesh.server.ended().await.protocol, Some(Protocol::Opaque));

    let other = mesh.app().await;
    let mut client = mesh.connect(other.local_addr().unwrap()).await;
    client.write_all(b"PING\r\n").await.unwrap();
    let (mut served, _) = within(other.accept()).await.unwrap();
    assert_eq!(until(&mut served, "\r\n").await, "PING\r\n");
    served.write_all(b"+PONG\r\n").await.unwrap();
    assert_eq!(until(&mut client, "\r\n").await, "+PONG\r\n");
}

#[tokio::test]
async fn megabytes_pass_both_ways_and_are_framed_anew() {
    let mesh = web();
    let app = mesh.app().await;
    let mut client = mesh.connect(app.local_addr().unwrap()).await;
    let length = 8 << 20;
    let (mut read, mut write) = {
        client
            .write_all(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n").as_bytes())
            .await
            .unwrap();
        client.into_split()
    };
    let sending = tokio::spawn(async move {
        write.write_all(&vec![b'u'; length]).await.unwrap();
        write
    });
    let (mut served, _) = within(app.accept()).await.unwrap();
    head(&mut served).await;
    let mut body = vec![0; length];
    within(served.read_exact(&mut body)).await.unwrap();
    assert!(body.iter().all(|&byte| byte == b'u'));
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
    let answering = tokio::spawn(async move {
        served.write_all(answer.as_bytes()).await.unwrap();
        served.write_all(&vec![b'd'; length]).await.unwrap();
        served
    });
    let mut answer = vec![0; length];
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        text.push(within(read.read_u8()).await.unwrap());
    }
    within(read.read_exact(&mut answer)).await.unwrap();
    assert!(answer.iter().all(|&byte| byte == b'd'));
    within(sending).await.unwrap();
    within(answering).await.unwrap();
}

#[tokio::test]
async fn an_app_that_is_not_there_is_answered_for() {
    let mesh = web();
    let nobody = mesh.app().await.local_addr().unwrap();
    let mut client = mesh.connect(nobody).await;
    client.write_all(GET.as_bytes()).await.unwrap();
    assert!(head(&mut client).await.starts_with("HTTP/1.1 503 "));
}

#[tokio::test]
async fn whoever_has_the_whole_answer_may_end_its_stream_at_once() {
    let trailers = "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n";
    let early = "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\ncontent-length: 2\r\n\r\nno";
    let asking = "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n";
    let sending = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbeginning";
    for (request, answer) in [(asking, trailers), (sending, early)] {
        let mesh = web();
        let app = mesh.app().await;
        let mut client = mesh.connect(app.local_addr().unwrap()).await;
        client.write_all(request.as_bytes()).await.unwrap();
        let (mut served, _) = within(app.accept()).await.unwrap();
        head(&mut served).await;
        served.write_all(answer.as_bytes()).await.unwrap();
        let end = answer.rsplit("\r\n").find(|line| !line.is_empty()).unwrap().to_lowercase();
        let mut heard = String::new();
        while !heard.trim_end().ends_with(&end) {
            heard.push(char::from(within(client.read_u8()).await.unwrap()).to_ascii_lowercase());
        }
        drop(client);
        // What waits between both for another request is ended by a drain.
        mesh.client.instance.drain();
        for half in [&mesh.client, &mesh.server] {
            let ended = half.ended().await;
            assert!(ended.fault.is_none(), "{request:?}: {ended:?}");
            let told = half.seen.exchanged.lock().unwrap().pop().unwrap();
            assert_eq!(told.flags.to_string(), "-", "{request:?}: {told:?}");
        }
    }
}
