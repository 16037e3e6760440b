//! Pseudo-random bytes that both ends of a connection can make from the same seed, so that every byte can be
//! verified and none has to be kept.

use std::io::{self, Read, Write};

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
#[derive(Clone, Debug)]
pub(super) struct Noise {
    state: u64,
}

impl Noise {
    pub(super) const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub(super) const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number from 0 to `most`.
    pub(super) const fn up_to(&mut self, most: u64) -> u64 {
        match most.checked_add(1) {
            Some(numbers) => self.next() % numbers,
            None => self.next(),
        }
    }
}

/// Bytes of a block: a multiple of the word that [`Noise`] makes.
const BLOCK: usize = 32 * 1024;

/// An endless stream of bytes from one seed, at any offset the same for both ends.
struct Stream {
    noise: Noise,
    block: Vec<u8>,
    used: usize,
}

impl Stream {
    fn new(seed: u64) -> Self {
        Self { noise: Noise::new(seed), block: vec![0; BLOCK], used: BLOCK }
    }

    /// At least one and at most `most` of the next bytes.
    fn take(&mut self, most: usize) -> &[u8] {
        if self.used == BLOCK {
            for word in self.block.chunks_exact_mut(8) {
                word.copy_from_slice(&self.noise.next().to_le_bytes());
            }
            self.used = 0;
        }
        let from = self.used;
        self.used = BLOCK.min(from + most);
        &self.block[from..self.used]
    }
}

/// Writes `count` bytes of the stream in pieces of random size. `wrote` is told the total after each piece.
pub(super) fn send(
    sink: &mut impl Write,
    seed: u64,
    count: u64,
    mut wrote: impl FnMut(u64),
) -> io::Result<()> {
    let mut stream = Stream::new(seed);
    let mut sizes = Noise::new(!seed);
    let mut sent = 0;
    while sent < count {
        let piece = (1 + sizes.up_to(BLOCK as u64 - 1)).min(count - sent);
        let bytes = stream.take(usize::try_from(piece).unwrap_or(BLOCK));
        sink.write_all(bytes)?;
        sent += bytes.len() as u64;
        wrote(sent);
    }
    Ok(())
}

/// Reads to the end and compares with the stream. `read` is told the total after each piece.
pub(super) fn verify(source: &mut impl Read, seed: u64, mut read: impl FnMut(u64)) -> io::Result<()> {
    let mut stream = Stream::new(seed);
    let mut buffer = vec![0; 2 * BLOCK];
    let mut total = 0;
    loop {
        let count = source.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let mut left = &buffer[..count];
        while !left.is_empty() {
            let expected = stream.take(left.len());
            let (piece, rest) = left.split_at(expected.len());
            if let Some(at) = piece.iter().zip(expected).position(|(found, expected)| found != expected) {
                let message = format!("byte {} differs", total + at as u64);
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            total += piece.len() as u64;
            left = rest;
        }
        read(total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_verifies_with_the_same_seed_only() {
        let mut sent = Vec::new();
        send(&mut sent, 7, 200_000, |_| {}).unwrap();
        assert_eq!(sent.len(), 200_000);
        verify(&mut sent.as_slice(), 7, |_| {}).unwrap();
        assert!(verify(&mut sent.as_slice(), 8, |_| {}).is_err());
    }

    #[test]
    fn a_lost_a_doubled_and_a_swapped_byte_are_found() {
        let mut sent = Vec::new();
        send(&mut sent, 7, 100_000, |_| {}).unwrap();
        let lost = [&sent[..50_000], &sent[50_001..]].concat();
        let doubled = [&sent[..50_000], &sent[49_999..]].concat();
        let mut swapped = sent.clone();
        swapped.swap(70_000, 70_009);
        for broken in [lost, doubled, swapped] {
            assert!(verify(&mut broken.as_slice(), 7, |_| {}).is_err());
        }
    }
}
