//! What happens when descriptors run out. The limit holds for a whole process, so the instance runs in one of its
//! own: this test binary again, running this test only, told so by a variable.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use nix::sys::resource::{Resource, setrlimit};

use super::*;

/// Tells the child which upstream to relay to.
const UPSTREAM: &str = "SIDESTEP_TEST_UPSTREAM";
/// How many connections the child has descriptors for.
const ROOM: usize = 10;

#[test]
fn an_instance_out_of_descriptors_backs_off_and_keeps_serving() {
    match std::env::var(UPSTREAM) {
        Ok(upstream) => constrained_instance(upstream.parse().unwrap()),
        Err(_) => more_clients_than_descriptors(),
    }
}

fn more_clients_than_descriptors() {
    let upstream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let destination = upstream.local_addr().unwrap();
    // Echoes, blocking, one thread per connection: few, and apart from the instance's runtime.
    std::thread::spawn(move || {
        for stream in upstream.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut byte = [0];
                while stream.read(&mut byte).is_ok_and(|read| read == 1) && stream.write_all(&byte).is_ok() {}
            });
        }
    });
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "--test-threads=1"])
        .arg("proxy::tests::descriptors::an_instance_out_of_descriptors_backs_off_and_keeps_serving")
        .env(UPSTREAM, destination.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut told = |word: &str| {
        lines
            .find_map(|line| line.split_once(word).map(|(_, value)| value.to_owned()))
            .expect("the child said so")
    };
    let address: SocketAddr = told("listening at ").parse().unwrap();

    let mut clients = Vec::new();
    for _ in 0..ROOM + 5 {
        let mut client = std::net::TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"x").unwrap();
        clients.push(client);
    }
    let echoed = |client: &mut std::net::TcpStream| client.read_exact(&mut [0]).unwrap();
    clients[..ROOM].iter_mut().for_each(echoed);
    // Five wait in the backlog, neither served nor reset; with five others gone they are served.
    clients.drain(..5);
    clients[ROOM - 5..].iter_mut().for_each(echoed);

    drop(child.stdin.take());
    let backoffs: u64 = told("backed off ").parse().unwrap();
    assert!(backoffs > 0);
    assert!(child.wait().unwrap().success());
}

fn constrained_instance(upstream: SocketAddr) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let bench = Bench::start(Entry::Outbound, LIMITS, Some(upstream));
        // One connection before the limit, so that the loop has opened what it opens beforehand.
        let mut first = bench.connect().await;
        first.write_all(b"x").await.unwrap();
        within(first.read_exact(&mut [0])).await.unwrap();
        drop(first);
        within(bench.instance.idle()).await;

        setrlimit(Resource::RLIMIT_NOFILE, 128, 128).unwrap();
        let mut filling = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            filling.push(file);
        }
        filling.truncate(filling.len() - 2 * ROOM);
        println!("listening at {}", bench.listening.address());
        // Waits for the parent on a thread of its own; the instance goes on meanwhile.
        let ended = tokio::task::spawn_blocking(|| io::stdin().read_to_end(&mut Vec::new()));
        ended.await.unwrap().unwrap();
        println!("backed off {}", bench.instance.accept_backoffs());
    });
}
