//! What the processes of a pair spend while a client's operations count: read from outside, just before and just after.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use nix::time::clock_getcpuclockid;
use nix::unistd::{Pid, SysconfVar, sysconf};

use crate::lab::peer::{Account, Answer, nanoseconds};

/// Whom to watch.
#[derive(Debug, Clone)]
pub(crate) struct Watched {
    /// The processes of the proxy beside the client; none without a proxy.
    pub(crate) proxies: Vec<Pid>,
    /// The same beside the server.
    pub(crate) far_proxies: Vec<Pid>,
    /// The server's process.
    pub(crate) server: Pid,
    /// The cores that any of them, or the client, runs on.
    pub(crate) cores: BTreeSet<usize>,
}

/// What one client run has shown.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) answer: Answer,
    /// All processes of the proxy beside the client together.
    pub(crate) proxy: Account,
    /// The same beside the server.
    pub(crate) far_proxy: Account,
    pub(crate) server: Account,
    /// Time in soft interrupts on the cores used; in steps of a tick, and none where the kernel does not count it. Without
    /// `CONFIG_IRQ_TIME_ACCOUNTING` it is also part of the time of whoever was interrupted.
    pub(crate) softirq_ns: Option<u64>,
    /// The most memory that the processes of the proxy beside the client had resident during the run, in bytes; pages that
    /// processes share count once for each. None without a proxy.
    pub(crate) proxy_peak_rss: Option<u64>,
    /// The same beside the server.
    pub(crate) far_proxy_peak_rss: Option<u64>,
}

/// Runs a client and watches the others meanwhile.
pub(crate) fn watch(client: &mut Command, watched: &Watched) -> Result<Measured> {
    for &proxy in watched.proxies.iter().chain(&watched.far_proxies) {
        forget_peak(proxy)?;
    }
    let (answer, [before, after]) = Answer::between(client, || Snapshot::take(watched))?;
    Ok(Measured {
        answer,
        proxy: after.proxy.since(before.proxy),
        far_proxy: after.far_proxy.since(before.far_proxy),
        server: after.server.since(before.server),
        softirq_ns: before
            .softirq_ns
            .zip(after.softirq_ns)
            .map(|(before, after)| after.saturating_sub(before)),
        proxy_peak_rss: peaks(&watched.proxies),
        far_proxy_peak_rss: peaks(&watched.far_proxies),
    })
}

/// Everything since everybody's beginning.
#[derive(Debug, Clone, Copy)]
struct Snapshot {
    proxy: Account,
    far_proxy: Account,
    server: Account,
    softirq_ns: Option<u64>,
}

impl Snapshot {
    fn take(watched: &Watched) -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
        Ok(Self {
            proxy: spent_together(&watched.proxies)?,
            far_proxy: spent_together(&watched.far_proxies)?,
            server: spent(watched.server)?,
            softirq_ns: parse_softirq(&stat, &watched.cores),
        })
    }
}

fn spent_together(processes: &[Pid]) -> Result<Account> {
    let mut each = processes.iter().map(|&process| spent(process));
    each.try_fold(Account::default(), |sum, one| Ok(sum.and(one?)))
}

/// What a process has spent since it began. The time is the process's clock's, which knows of threads that have ended;
/// their context switches are lost.
fn spent(process: Pid) -> Result<Account> {
    let mut account = Account { cpu_ns: cpu_ns(process)?, ..Account::default() };
    let directory = format!("/proc/{process}/task");
    let threads = fs::read_dir(&directory).with_context(|| format!("read {directory}"))?;
    for thread in threads.flatten() {
        // A thread may end at any time, also while its file is read.
        let Ok(status) = fs::read_to_string(thread.path().join("status")) else { continue };
        if let Some([voluntary, involuntary]) = parse_switches(&status) {
            account.voluntary_switches += voluntary;
            account.involuntary_switches += involuntary;
        }
    }
    Ok(account)
}

/// Time on a processor since a process began, of all its threads, by the clock that the kernel keeps for it.
pub(crate) fn cpu_ns(process: Pid) -> Result<u64> {
    nanoseconds(clock_getcpuclockid(process).with_context(|| format!("find the clock of process {process}"))?)
}

/// The two counts at the end of /proc/PID/task/TID/status (proc_pid_status(5)).
fn parse_switches(status: &str) -> Option<[u64; 2]> {
    Some([field(status, "voluntary_ctxt_switches:")?, field(status, "nonvoluntary_ctxt_switches:")?])
}

/// Time in soft interrupts of these cores together: the seventh figure after the core's name, in ticks (proc_stat(5)).
fn parse_softirq(stat: &str, cores: &BTreeSet<usize>) -> Option<u64> {
    let ticks_per_second = u64::try_from(sysconf(SysconfVar::CLK_TCK).ok()??).ok()?;
    let ticks = cores.iter().map(|core| {
        let line = stat.lines().find_map(|line| line.strip_prefix(&format!("cpu{core} ")))?;
        line.split_whitespace().nth(6)?.parse::<u64>().ok()
    });
    Some(ticks.sum::<Option<u64>>()? * 1_000_000_000 / ticks_per_second)
}

/// From now on the peak of a process's resident memory is what it has now (proc_pid_clear_refs(5)).
fn forget_peak(process: Pid) -> Result<()> {
    let file = format!("/proc/{process}/clear_refs");
    fs::write(&file, "5").with_context(|| format!("write 5 to {file}"))
}

/// The most memory that processes had resident, in bytes; none if there are none, or one has ended.
fn peaks(processes: &[Pid]) -> Option<u64> {
    let each: Vec<u64> = processes.iter().map(|&process| peak(process).ok()).collect::<Option<_>>()?;
    (!each.is_empty()).then(|| each.iter().sum())
}

/// The most memory that a process had resident, in bytes.
fn peak(process: Pid) -> Result<u64> {
    memory(process, "VmHWM:")
}

/// The memory that a process has resident, in bytes.
pub(crate) fn resident_bytes(process: Pid) -> Result<u64> {
    memory(process, "VmRSS:")
}

fn memory(process: Pid, key: &str) -> Result<u64> {
    let file = format!("/proc/{process}/status");
    let status = fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
    let kibibytes = field(&status, key).with_context(|| format!("find {key} in {file}"))?;
    Ok(kibibytes * 1024)
}

/// The number that follows a key at the beginning of a line; its unit is the caller's to know.
fn field(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tsidestep\nVmPeak:\t  900 kB\nVmHWM:\t    8200 kB\nThreads:\t2\n\
        voluntary_ctxt_switches:\t150\nnonvoluntary_ctxt_switches:\t7\n";

    #[test]
    fn switches_of_either_kind_are_found_in_the_status_of_a_thread() {
        assert_eq!(parse_switches(STATUS), Some([150, 7]));
        assert_eq!(parse_switches("Name:\tx\n"), None);
        assert_eq!(field(STATUS, "VmHWM:"), Some(8200));
    }

    #[test]
    fn soft_interrupts_are_added_up_over_the_cores_that_were_used() {
        let stat = "cpu  1 2 3 4 5 6 77 0 0 0\ncpu0 1 0 0 0 0 0 30 0 0 0\ncpu1 1 0 0 0 0 0 40 0 0 0\n\
                    cpu10 1 0 0 0 0 0 7 0 0 0\nintr 5\n";
        let ticks = |cores: &[usize]| parse_softirq(stat, &cores.iter().copied().collect());
        // A tick of user space is a hundredth of a second on every architecture of ours.
        assert_eq!(ticks(&[1]), Some(400_000_000));
        assert_eq!(ticks(&[0, 10]), Some(370_000_000));
        assert_eq!(ticks(&[2]), None);
    }

    #[test]
    fn what_a_thread_spent_is_known_after_its_end() {
        let own = Pid::this();
        let before = spent(own).unwrap();
        let busy = std::thread::spawn(|| {
            let began = std::time::Instant::now();
            while began.elapsed().as_millis() < 5 {
                std::hint::spin_loop();
            }
        });
        busy.join().unwrap();
        assert!(spent(own).unwrap().since(before).cpu_ns > 1_000);
    }

    #[test]
    fn a_peak_is_known_and_can_be_forgotten() {
        let own = Pid::this();
        assert!(peak(own).unwrap() > 1_000_000 && peaks(&[]).is_none());
        forget_peak(own).unwrap();
        assert!(peak(own).unwrap() > 1_000_000);
    }
}
