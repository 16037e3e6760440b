//! Connect, exchange, close, many times over: what short connections meet.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use clap::Args;

use super::Event;
use super::socket::{Target, errno};
use crate::patience::patience;

#[derive(Debug, Args)]
pub(super) struct Storm {
    #[command(flatten)]
    target: Target,
    /// How many connections in all; without it, until standard input ends
    #[arg(long)]
    count: Option<u64>,
    /// How many at the same time
    #[arg(long, default_value_t = 4)]
    parallel: u64,
    /// Name that the answer must begin with
    #[arg(long)]
    expect: Option<String>,
}

impl Storm {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let left = Arc::new(AtomicI64::new(self.count.map_or(i64::MAX, u64::cast_signed)));
        if self.count.is_none() {
            let left = Arc::clone(&left);
            // Not joined: it ends with standard input, or with the process.
            std::thread::spawn(move || {
                let _ = io::copy(&mut io::stdin(), &mut io::sink());
                left.store(0, Ordering::Relaxed);
            });
        }
        let answered = AtomicU64::new(0);
        let failures = Mutex::new(BTreeMap::<String, u64>::new());
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..self.parallel {
                scope.spawn(|| {
                    while left.fetch_sub(1, Ordering::Relaxed) > 0 {
                        match self.once() {
                            Ok(()) => {
                                answered.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(why) => {
                                let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
                                *failures.entry(why).or_default() += 1;
                            }
                        }
                    }
                });
            }
        });
        let elapsed_us = u64::try_from(began.elapsed().as_micros())?;
        let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
        Event::Stormed { answered: answered.into_inner(), failures, elapsed_us }.emit();
        Ok(())
    }

    fn once(&self) -> Result<(), String> {
        let failed = |doing: &str, error: &io::Error| format!("{doing}: {}", errno(error));
        let (mut stream, _) = self.target.dial(&[]).0.map_err(|error| failed("connect", &error))?;
        stream.set_read_timeout(Some(patience())).map_err(|error| failed("set the timeout", &error))?;
        stream.write_all(b"hello").map_err(|error| failed("write", &error))?;
        stream.shutdown(Shutdown::Write).map_err(|error| failed("shut down", &error))?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(|error| failed("read", &error))?;
        let expected =
            self.expect.as_ref().map_or_else(|| "hello".to_owned(), |name| format!("{name}\nhello"));
        if answer == expected { Ok(()) } else { Err(format!("expected {expected:?}, found {answer:?}")) }
    }
}
