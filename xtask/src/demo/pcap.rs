//! What tcpdump has written: the TCP connections in it, and the bytes of each direction in their order.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};

/// The first bytes of a file written on a machine with the little end first, with times in microseconds
/// (pcap-savefile(5)).
const MAGIC: [u8; 4] = [0xd4, 0xc3, 0xb2, 0xa1];
/// The length of the file's header.
const FILE_HEADER: usize = 24;
/// The length of the header of each packet.
const PACKET_HEADER: usize = 16;

/// One direction of a connection: who sends, and to whom.
pub(super) type Direction = (SocketAddr, SocketAddr);

/// What was sent in each direction.
pub(super) type Streams = BTreeMap<Direction, Stream>;

/// The bytes of one direction, from its beginning or from where the recording began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Stream {
    pub(super) bytes: Vec<u8>,
    /// The sequence number that comes next; none before the first packet.
    next: Option<u32>,
}

/// Reads a recording. Packets that are not TCP, and those that carry nothing, are passed over.
pub(super) fn streams(recording: &[u8]) -> Result<Streams> {
    let mut streams = Streams::new();
    for packet in packets(recording)? {
        let sliced = SlicedPacket::from_ethernet(packet).context("read a packet")?;
        let (Some(net), Some(TransportSlice::Tcp(tcp))) = (&sliced.net, &sliced.transport) else { continue };
        let Some((from, to)) = addresses(net) else { continue };
        let direction =
            (SocketAddr::new(from, tcp.source_port()), SocketAddr::new(to, tcp.destination_port()));
        let stream = streams.entry(direction).or_default();
        // What carries nothing says nothing of what is missing: after the end, for which a number is spent too, come
        // acknowledgements.
        if tcp.payload().is_empty() && !tcp.syn() {
            continue;
        }
        // A SYN counts as one byte.
        let first = tcp.sequence_number().wrapping_add(u32::from(tcp.syn()));
        stream.take(first, tcp.payload()).with_context(|| format!("{} to {}", direction.0, direction.1))?;
    }
    streams.retain(|_, stream| !stream.bytes.is_empty());
    Ok(streams)
}

impl Stream {
    /// Takes what a segment carries unless it has come before. On a wire of two ends nothing is overtaken.
    fn take(&mut self, first: u32, payload: &[u8]) -> Result<()> {
        let next = *self.next.get_or_insert(first);
        // Serial numbers (RFC 1982): half of them are ahead, half behind.
        let behind = next.wrapping_sub(first) as usize;
        ensure!(behind < 1 << 31, "{} bytes are missing from the recording", first.wrapping_sub(next));
        if let Some(new) = payload.get(behind..).filter(|new| !new.is_empty()) {
            self.bytes.extend_from_slice(new);
            self.next = Some(next.wrapping_add(new.len() as u32));
        }
        Ok(())
    }
}

fn addresses(net: &NetSlice<'_>) -> Option<(IpAddr, IpAddr)> {
    match net {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            Some((header.source_addr().into(), header.destination_addr().into()))
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            Some((header.source_addr().into(), header.destination_addr().into()))
        }
        NetSlice::Arp(_) => None,
    }
}

/// The packets of a file, each as it was on the wire.
fn packets(file: &[u8]) -> Result<Vec<&[u8]>> {
    ensure!(
        file.starts_with(&MAGIC),
        "expected a recording of tcpdump, found {:02x?}",
        &file[..file.len().min(4)]
    );
    let mut rest = file.get(FILE_HEADER..).context("the recording ends within its header")?;
    let mut packets = Vec::new();
    while !rest.is_empty() {
        let header = rest.get(..PACKET_HEADER).context("the recording ends within a packet's header")?;
        let [captured, original] = [8, 12].map(|at| {
            let mut number = [0; 4];
            number.copy_from_slice(&header[at..at + 4]);
            u32::from_le_bytes(number) as usize
        });
        ensure!(captured == original, "expected whole packets, found {captured} of {original} bytes");
        let end = PACKET_HEADER + captured;
        packets.push(rest.get(PACKET_HEADER..end).context("the recording ends within a packet")?);
        rest = &rest[end..];
    }
    Ok(packets)
}

#[cfg(test)]
pub(super) mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    /// A recording of segments, each from a port to a port with a sequence number and a payload.
    pub(in super::super) fn recording(segments: &[(u16, u16, u32, &[u8])]) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        file.resize(FILE_HEADER, 0);
        for &(from, to, sequence, payload) in segments {
            let builder = PacketBuilder::ethernet2([2; 6], [4; 6])
                .ipv4([10, 78, 0, 1], [10, 78, 0, 2], 64)
                .tcp(from, to, sequence, 1024);
            let mut packet = Vec::new();
            builder.write(&mut packet, payload).unwrap();
            let length = u32::try_from(packet.len()).unwrap().to_le_bytes();
            file.extend([[0; 4], [0; 4], length, length].concat());
            file.extend(packet);
        }
        file
    }

    #[test]
    fn each_direction_of_a_connection_is_put_together() {
        let file = recording(&[
            (4000, 15008, u32::MAX, b"a"),
            (4000, 15008, 0, b"bcd"),
            (15008, 4000, 7, b"z"),
            // Again, and a little more.
            (4000, 15008, 1, b"cde"),
            // After a FIN, which has a number too.
            (4000, 15008, 5, b""),
        ]);
        let streams = streams(&file).unwrap();
        let bytes = |from: u16| {
            let (_, stream) = streams.iter().find(|((source, _), _)| source.port() == from).unwrap();
            stream.bytes.as_slice()
        };
        assert_eq!((bytes(4000), bytes(15008), streams.len()), (&b"abcde"[..], &b"z"[..], 2));
    }

    #[test]
    fn a_gap_is_not_passed_over() {
        let error = streams(&recording(&[(1, 2, 10, b"ab"), (1, 2, 15, b"c")])).unwrap_err();
        assert!(format!("{error:#}").contains("3 bytes are missing"), "{error:#}");
    }

    #[test]
    fn what_is_no_recording_or_not_whole_is_refused() {
        assert!(streams(b"GET / HTTP/1.1").is_err());
        let file = recording(&[(1, 2, 10, b"ab")]);
        assert!(streams(&file[..file.len() - 1]).is_err());
        assert!(streams(&file[..FILE_HEADER]).unwrap().is_empty());
    }
}
