//! Samples for tests.

use super::Sample;
use crate::bench::mode::Mode;
use crate::bench::seating::Seating;
use crate::bench::work::Work;
use crate::lab::peer::{Account, Answer, Latencies};

/// Ten ping-pongs that all took as long.
pub(crate) fn sample(round: usize, mode: Mode, nanoseconds: u64) -> Sample {
    let answer = Answer {
        outcome: Answer::CONNECTED.to_owned(),
        connections: 1,
        operations: 10,
        seconds: nanoseconds as f64 / 1e8,
        bytes: 1_280,
        whole: Latencies::of([nanoseconds; 10]).unwrap(),
        connect: None,
        lag: None,
        account: Account::default(),
        process: 1,
    };
    Sample {
        round,
        mode,
        work: Work::PingPong,
        seating: Seating::OneCore,
        answer,
        proxy: Account::default(),
        far_proxy: Account::default(),
        server: Account::default(),
        softirq_ns: None,
        proxy_peak_rss: None,
        far_proxy_peak_rss: None,
    }
}
