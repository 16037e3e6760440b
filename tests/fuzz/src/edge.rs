//! The part of the room `proxy` that reads how connections to databases begin.

#[path = "../../../userspace/src/proxy/edge/postgres/message.rs"]
mod message;
#[path = "../../../userspace/src/proxy/edge/mysql/packet.rs"]
mod packet;

use packet::{Greeting, LONGEST, Packet, TLS_REQUEST};

/// Reads bytes as everything that they may be, and panics where that breaks a promise.
pub fn read(bytes: &[u8]) {
    if let Some(head) = bytes.first_chunk() {
        if let Ok((length, sequence)) = packet::header(*head) {
            assert!((1..=LONGEST).contains(&length));
            let written = Packet { sequence, payload: vec![0; length] }.bytes();
            assert_eq!((written.first_chunk(), written.len()), (Some(head), length + packet::HEADER));
        }
    }
    let mut hello = bytes.to_vec();
    match packet::greeting(&mut hello) {
        Ok(Greeting::Secure) => {
            assert_eq!(differing_bits(bytes, &hello), 1, "more than the offer of TLS was taken out");
            assert_eq!(packet::greeting(&mut hello), Ok(Greeting::Plain));
        }
        Ok(Greeting::Plain | Greeting::Refusal) | Err(_) => assert_eq!(bytes, hello),
    }
    let mut response = bytes.to_vec();
    match packet::response(&mut response) {
        Ok(request) => {
            assert_eq!(differing_bits(bytes, &response), 1, "more than the wish for TLS was put in");
            assert_eq!(request[..], response[..TLS_REQUEST]);
            assert!(packet::response(&mut response).is_err(), "it wishes for TLS now");
        }
        Err(_) => assert_eq!(bytes, response),
    }
    if let Some(head) = bytes.first_chunk() {
        let _told: Result<_, _> = message::opening(*head);
    }
    // Whatever an error says becomes one whole message.
    let told = message::fatal(&String::from_utf8_lossy(bytes));
    let length = told.get(1..5).and_then(|length| length.first_chunk()).map(|length| u32::from_be_bytes(*length));
    assert_eq!(length.map(|length| length as usize), Some(told.len() - 1));
}

fn differing_bits(one: &[u8], other: &[u8]) -> u32 {
    assert_eq!(one.len(), other.len());
    one.iter().zip(other).map(|(a, b)| (a ^ b).count_ones()).sum()
}
