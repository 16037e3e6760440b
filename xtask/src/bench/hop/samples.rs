//! Where processes are when a clock looks: `perf record`, and what `perf script` says of it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use nix::libc::O_NONBLOCK;
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};

use super::step::Step;
use crate::lab::{Lab, Program};
use crate::process::capture;

/// Looks per second. Each costs some microseconds, so a share is a truth and a time is not: times are taken without it.
const FREQUENCY: u32 = 9_999;

/// What `perf script` calls the places that the kernel's own code is at.
const KERNEL: [&str; 3] = ["[kernel", "[bpf", "bpf_prog_"];

/// How often each step of each process was met.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Samples {
    processes: BTreeMap<i32, BTreeMap<Step, u64>>,
    /// The functions that were met themselves, with the process they were met in.
    functions: BTreeMap<(i32, String), u64>,
}

/// A recording that runs until it is asked for its samples.
pub(super) struct Recording {
    perf: Program,
    data: PathBuf,
}

impl Recording {
    /// Starts looking at one core. Timers look, since the machine may be one of those that have no counters.
    pub(super) fn start(lab: &Lab, core: usize) -> Result<Self> {
        let data = lab.file("perf.data");
        let [order, answer] = ["perf.order", "perf.answer"].map(|name| lab.file(name));
        let (mut orders, mut answers) = (pipe(&order)?, pipe(&answer)?);
        let mut record = Command::new("perf");
        record.args(["record", "--event", "cpu-clock", "--all-cpus", "-g", "--cpu", &core.to_string()]);
        record.args(["--freq", &FREQUENCY.to_string(), "--output"]).arg(&data);
        // It begins when it is told to, and says when it has: what it takes to get ready is not short.
        record.args(["--delay", "-1", "--control"]);
        record.arg(format!("fifo:{},{}", order.display(), answer.display()));
        let mut perf = Program::start("perf record", record, lab.file("perf.log"))?;
        orders.write_all(b"enable\n").context("tell perf to begin")?;
        lab.patience().until("perf record to begin", || {
            perf.check()?;
            Ok(answers.read(&mut [0; 16]).is_ok().then_some(()))
        })?;
        Ok(Self { perf, data })
    }

    /// Ends it and reads what it saw.
    pub(super) fn end(mut self) -> Result<Samples> {
        self.perf.stop()?;
        let mut script = Command::new("perf");
        script.args(["script", "--no-inline", "--fields", "pid,ip,sym,dso", "--input"]).arg(&self.data);
        let said = capture(&mut script).context("read what perf has recorded")?;
        Ok(Samples::parse(&said))
    }
}

/// Makes a pipe with a name, and holds both its ends, so that opening it waits for nobody.
fn pipe(path: &Path) -> Result<File> {
    drop(fs::remove_file(path));
    mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)
        .with_context(|| format!("make the pipe {}", path.display()))?;
    let opened = OpenOptions::new().read(true).write(true).custom_flags(O_NONBLOCK).open(path);
    opened.with_context(|| format!("open the pipe {}", path.display()))
}

impl Samples {
    /// Reads the blocks of `perf script`: a line with the process, then its stack, innermost function first.
    fn parse(script: &str) -> Self {
        let mut samples = Self::default();
        for block in script.split("\n\n") {
            let mut lines = block.lines().map(str::trim).filter(|line| !line.is_empty());
            let Some(process) = lines.next().and_then(|line| line.parse().ok()) else { continue };
            let stack: Vec<Frame<'_>> = lines.filter_map(Frame::parse).collect();
            let Some(innermost) = stack.first() else { continue };
            let step = if innermost.is_kernel() {
                Step::of(stack.iter().filter(|frame| frame.is_kernel()).map(|frame| frame.function))
            } else {
                Step::User
            };
            *samples.processes.entry(process).or_default().entry(step).or_default() += 1;
            *samples.functions.entry((process, innermost.function.to_owned())).or_default() += 1;
        }
        samples
    }

    /// How many times a process was met at all.
    pub(super) fn of(&self, process: Pid) -> u64 {
        self.processes.get(&process.as_raw()).into_iter().flat_map(BTreeMap::values).sum()
    }

    /// The part of a process's time that a step takes, between 0 and 1.
    pub(super) fn share(&self, process: Pid, step: Step) -> f64 {
        let met = self.processes.get(&process.as_raw()).and_then(|steps| steps.get(&step)).copied();
        met.unwrap_or(0) as f64 / self.of(process).max(1) as f64
    }

    /// The functions that a process was met in most often, and their part of its time.
    pub(super) fn heaviest(&self, process: Pid, count: usize) -> Vec<(String, f64)> {
        let all = self.of(process).max(1) as f64;
        let own = self.functions.iter().filter(|((owner, _), _)| *owner == process.as_raw());
        let mut functions: Vec<(String, f64)> =
            own.map(|((_, function), met)| (function.clone(), *met as f64 / all)).collect();
        functions.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        functions.truncate(count);
        functions
    }
}

/// One function of a stack.
#[derive(Debug, PartialEq, Eq)]
struct Frame<'a> {
    function: &'a str,
    object: &'a str,
}

impl<'a> Frame<'a> {
    /// Reads `<address> <function> (<object>)`; names may have spaces, and a file that was replaced says so.
    fn parse(line: &'a str) -> Option<Self> {
        let (_address, rest) = line.split_once(' ')?;
        let (function, object) = rest.strip_suffix(" (deleted))").unwrap_or(rest).rsplit_once(" (")?;
        Some(Self { function, object: object.trim_end_matches(')') })
    }

    fn is_kernel(&self) -> bool {
        // Modules are named in brackets too, like the page that the kernel lends to programs.
        (self.object.starts_with('[') && self.object != "[vdso]" && self.object != "[unknown]")
            || KERNEL.iter().any(|place| self.object.starts_with(place))
            || self.function.starts_with("bpf_prog_")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "  41 \n\
        \tffffffff8134 _raw_spin_unlock_irqrestore ([kernel.kallsyms])\n\
        \tffffffff8135 try_to_wake_up ([kernel.kallsyms])\n\
        \t          123 main (/x)\n\n\
          41 \n\
        \t        e4ad7 <core::x as y>::z (/tmp/sidestep)\n\n\
          42 \n\
        \tffffffffc001 bpf_prog_1b_sidestep_connect4 (bpf_prog_1b_sidestep_connect4)\n\n\
          41 \n\
        \tffffffffc077 nf_conntrack_in ([nf_conntrack])\n";

    #[test]
    fn stacks_are_counted_by_process_and_step() {
        let samples = Samples::parse(SCRIPT);
        let (proxy, client) = (Pid::from_raw(41), Pid::from_raw(42));
        assert_eq!((samples.of(proxy), samples.of(client)), (3, 1));
        assert_eq!(samples.share(client, Step::Bpf), 1.0);
        for step in [Step::Scheduling, Step::User, Step::Netfilter] {
            assert_eq!(samples.share(proxy, step), 1.0 / 3.0, "{step:?}");
        }
        assert_eq!(samples.share(Pid::from_raw(7), Step::User), 0.0);
    }

    #[test]
    fn the_heaviest_functions_come_first() {
        let samples =
            Samples::parse(&format!("{SCRIPT}\n{SCRIPT}\n  41 \n\t1 epoll_wait (/lib/libc.so.6)\n"));
        let heaviest = samples.heaviest(Pid::from_raw(41), 3);
        assert_eq!(heaviest.len(), 3);
        assert!(heaviest.contains(&("<core::x as y>::z".to_owned(), 2.0 / 7.0)), "{heaviest:?}");
    }

    #[test]
    fn a_program_that_was_replaced_still_has_its_functions() {
        let expected = Frame { function: "[unknown]", object: "/x/sidestep" };
        assert_eq!(Frame::parse("4ad7 [unknown] (/x/sidestep (deleted))"), Some(expected));
        assert!(!Frame::parse("4ad7 main (/x/sidestep)").unwrap().is_kernel());
        assert_eq!(Frame::parse("4ad7"), None);
    }

    #[test]
    fn a_script_with_nothing_in_it_has_no_samples() {
        assert_eq!(Samples::parse(""), Samples::default());
    }
}
