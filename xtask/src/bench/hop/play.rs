//! One run of a client, with what everybody used for it.

use std::io::Read as _;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::account::Account;
use crate::bench::pair::Pair;
use crate::bench::seating::{Cores, Role, Seating};
use crate::bench::work::Work;
use crate::lab::peer::Answer;

/// Everything on one core, so that nobody's time hides behind somebody else's.
pub(super) const SEATING: Seating = Seating::OneCore;

/// What came of a run.
#[derive(Debug, Clone)]
pub(super) struct Played {
    pub(super) answer: Answer,
    /// How many operations there were.
    pub(super) operations: usize,
    /// The client's process, which has ended.
    pub(super) client: Pid,
    accounts: Vec<(Role, Account)>,
}

impl Played {
    /// What one role used during the run; nothing if nobody played it.
    pub(super) fn account(&self, role: Role) -> Option<Account> {
        self.accounts.iter().find(|(who, _)| *who == role).map(|(_, account)| *account)
    }
}

/// Runs a client that does its work `count` times.
pub(super) fn play(pair: &Pair, work: Work, count: usize, cores: Cores) -> Result<Played> {
    pair.forget_connections()?;
    let core = pair.seat(SEATING, cores)?;
    let others = others(pair);
    let before: Vec<Account> = accounts(&others)?;
    let mut command = work.part().client(pair.client_pod(), pair.server_at(work), count, Some(core));
    let mut client = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("start a client")?;
    let process = Pid::from_raw(client.id().cast_signed());
    let mut said = String::new();
    if let Some(stdout) = &mut client.stdout {
        stdout.read_to_string(&mut said).context("read a client's answer")?;
    }
    // It has ended, but its account is kept until somebody waits for it.
    waitid(Id::Pid(process), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)
        .context("wait for a client's end")?;
    let own = Account::of(process);
    let status = client.wait().context("wait for a client")?;
    ensure!(status.success(), "{} with {} ended with {status}", work.title(), pair.mode().title());
    let answer = Answer::read(&said)?;
    let mut used = vec![(Role::Client, own?)];
    for ((role, _), (after, before)) in others.iter().zip(accounts(&others)?.into_iter().zip(before)) {
        used.push((*role, after.since(before)));
    }
    // Few enough warm a client up for round trips not to be counted; connections are all counted.
    let operations = (answer.whole.count() as usize).max(answer.connections);
    Ok(Played { answer, operations, client: process, accounts: used })
}

/// The processes that live through a run.
pub(super) fn others(pair: &Pair) -> Vec<(Role, Pid)> {
    let server = (Role::Server, pair.server_pid());
    std::iter::once(server).chain(pair.sidecar_pid().map(|proxy| (Role::Proxy, proxy))).collect()
}

fn accounts(of: &[(Role, Pid)]) -> Result<Vec<Account>> {
    of.iter().map(|(_, process)| Account::of(*process)).collect()
}
