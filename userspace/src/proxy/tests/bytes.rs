//! What goes in comes out: every byte, in order, once, and the end of the stream after the last one.

use super::*;

/// Megabytes each way in the byte-exact test; 100 in `SIDESTEP_TEST_MEGABYTES` is the promise, less is faster.
fn megabytes() -> usize {
    std::env::var("SIDESTEP_TEST_MEGABYTES").ok().and_then(|text| text.parse().ok()).unwrap_or(16)
}

/// A sequence of bytes that is the same for the same seed (xorshift64*, whole words).
struct Sequence(u64);

impl Sequence {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for word in bytes.chunks_mut(8) {
            let next = self.next().to_le_bytes();
            word.copy_from_slice(&next[..word.len()]);
        }
    }
}

/// Sends `total` bytes (a multiple of 8) in pieces of changing size, then closes its half.
async fn say(write: &mut (impl AsyncWriteExt + Unpin), seed: u64, total: usize) {
    let (mut content, mut sizes) = (Sequence(seed), Sequence(seed ^ 0x5555));
    let mut left = total;
    let mut piece = vec![0; 256 * 1024];
    while left > 0 {
        let span = [64, 4096, piece.len()][sizes.next() as usize % 3];
        let size = (8 + sizes.next() as usize % span).next_multiple_of(8).min(left).min(piece.len());
        content.fill(&mut piece[..size]);
        write.write_all(&piece[..size]).await.unwrap();
        left -= size;
    }
    write.shutdown().await.unwrap();
}

/// Reads to the end and compares with what [`say`] of the same seed sends.
async fn hear(read: &mut (impl AsyncReadExt + Unpin), seed: u64, total: usize) {
    let mut content = Sequence(seed);
    let (mut piece, mut expected) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut heard = 0;
    while heard < total {
        let size = piece.len().min(total - heard);
        read.read_exact(&mut piece[..size]).await.unwrap();
        content.fill(&mut expected[..size]);
        assert!(piece[..size] == expected[..size], "other bytes than were sent, near {heard} of {total}");
        heard += size;
    }
    assert_eq!(read.read(&mut piece).await.unwrap(), 0, "more bytes than were sent");
}

async fn exchange(client: &mut TcpStream, upstream: &mut TcpStream, up: (u64, usize), down: (u64, usize)) {
    let (mut client_read, mut client_write) = client.split();
    let (mut upstream_read, mut upstream_write) = upstream.split();
    tokio::join!(
        say(&mut client_write, up.0, up.1),
        hear(&mut upstream_read, up.0, up.1),
        say(&mut upstream_write, down.0, down.1),
        hear(&mut client_read, down.0, down.1),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_megabytes_pass_byte_exact_both_ways() {
    let mut pair = Pair::open(LIMITS).await;
    let total = megabytes() << 20;
    exchange(&mut pair.client, &mut pair.upstream, (11, total), (12, total)).await;
    let ended = pair.bench.ended().await;
    assert!(ended.fault.is_none(), "{:?}", ended.fault);
    assert_eq!((ended.traffic.sent, ended.traffic.received), (total as u64, total as u64));
}

#[tokio::test]
async fn half_closes_at_random_points_lose_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bench = Bench::start(Entry::Outbound, LIMITS, Some(listener.local_addr().unwrap()));
    let mut chance = Sequence(99);
    let mut exchanges = Vec::new();
    for _ in 0..24 {
        let mut client = bench.connect().await;
        let (mut upstream, _) = within(listener.accept()).await.unwrap();
        // From nothing at all to a megabyte, independently each way.
        let mut amount = || (chance.next() | 1, (chance.next() as usize % (1 << (chance.next() % 18))) * 8);
        let (up, down) = (amount(), amount());
        exchanges.push(tokio::spawn(async move { exchange(&mut client, &mut upstream, up, down).await }));
    }
    for exchange in exchanges {
        within(exchange).await.unwrap();
    }
    let ended = bench.all_ended(24).await;
    assert!(ended.iter().all(|ended| ended.fault.is_none()), "{ended:?}");
}

#[tokio::test]
async fn a_server_that_speaks_first_is_heard_without_a_word_from_the_client() {
    let mut pair = Pair::open(LIMITS).await;
    pass(&mut pair.upstream, &mut pair.client).await;
}

#[tokio::test]
async fn a_half_closed_side_still_hears_the_other() {
    let mut pair = Pair::open(LIMITS).await;
    pair.client.shutdown().await.unwrap();
    assert_eq!(within(pair.upstream.read(&mut [0; 8])).await.unwrap(), 0);
    for _ in 0..3 {
        pass(&mut pair.upstream, &mut pair.client).await;
    }
    drop(pair.upstream);
    assert_eq!(within(pair.client.read(&mut [0; 8])).await.unwrap(), 0);
    let ended = pair.bench.ended().await;
    assert!(ended.fault.is_none(), "{:?}", ended.fault);
    assert_eq!(ended.traffic.received, 24);
}

/// Writes until nothing more is taken for a while.
async fn flood(stream: &mut TcpStream) -> usize {
    let piece = vec![7; 256 * 1024];
    let mut taken = 0;
    while let Ok(written) = tokio::time::timeout(Duration::from_millis(300), stream.write(&piece)).await {
        taken += written.unwrap();
    }
    taken
}

#[tokio::test]
async fn a_reader_that_pauses_stops_the_writer_and_then_gets_everything() {
    let mut pair = Pair::open(LIMITS).await;
    let taken = within(flood(&mut pair.client)).await;
    // What the kernel's buffers of four sockets take at most (tcp_rmem, tcp_wmem), and then it stops.
    assert!(taken < 64 << 20, "{taken} bytes were taken from the writer while nobody reads");
    pair.client.shutdown().await.unwrap();
    let mut heard = Vec::new();
    within(pair.upstream.read_to_end(&mut heard)).await.unwrap();
    assert_eq!(heard.len(), taken);
    assert!(heard.iter().all(|&byte| byte == 7));
}
