//! `test`: the rings from the inside out, then a look at what they left, then one line with the sum.
//!
//! The kernel and system rings test what ships: the static release binary. It goes on after a failure, so that one run
//! shows everything.

mod leftovers;
mod rings;
mod tally;

use std::process::ExitCode;

use anyhow::{Result, bail};

use self::leftovers::Look;
use self::rings::{Policy, Ring, Subject};
use self::tally::Tally;
use crate::build::{self, Arch, Linkage, Profile};
use crate::build_ebpf;
use crate::kernels::Kernel;
use crate::setup;
use crate::workspace::Workspace;

/// Which tests to run.
#[derive(clap::Args)]
pub(crate) struct Flags {
    /// Only this ring; may be repeated. All of them by default, fast ones first
    #[arg(long = "ring", value_enum, value_name = "RING")]
    rings: Vec<Ring>,
    /// Only tests whose name contains one of these
    #[arg(last = true, value_name = "FILTER")]
    filters: Vec<String>,
}

/// Runs the rings, fails unless every test held and nothing was left behind, and ends with the sum, whatever it is.
pub(crate) fn run(workspace: &Workspace, flags: &Flags) -> Result<ExitCode> {
    let policy = Policy::from_environment();
    setup::prepare(workspace)?;
    build_ebpf::run(workspace, &build_ebpf::Flags::default())?;
    let mut total = Tally::default();
    let rings = chosen(&flags.rings);
    if rings.iter().any(|ring| is_unit(*ring)) {
        announce("pure and direct");
        total.add("unit", rings::unit(workspace, &flags.filters)?);
    }
    if rings.iter().any(|ring| !is_unit(*ring)) {
        let before = Look::at_the_machine();
        let subject = build_subject(workspace)?;
        for ring in rings.into_iter().filter(|ring| !is_unit(*ring)) {
            announce(ring.name());
            let tally = run_ring(workspace, &subject, ring, &flags.filters, policy).unwrap_or_else(|error| {
                let mut tally = Tally::default();
                tally.fail(format!("{error:#}"));
                tally
            });
            total.add(ring.name(), tally);
        }
        for thing in leftovers::since(&before) {
            total.fail(format!("left behind: {thing}"));
        }
    }
    if total.seen() == 0 {
        bail!("no test matches {:?}", flags.filters);
    }
    println!();
    for line in total.details() {
        println!("{line}");
    }
    println!("{total}");
    Ok(if total.has_failures() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn announce(ring: &str) {
    println!("\n=== {ring} ===");
}

/// The rings asked for, each once, from the inside out.
fn chosen(asked: &[Ring]) -> Vec<Ring> {
    let mut rings = match asked {
        [] => vec![Ring::Pure, Ring::Direct, Ring::Kernel, Ring::System, Ring::Vm],
        asked => asked.to_vec(),
    };
    rings.sort_unstable();
    rings.dedup();
    rings
}

fn is_unit(ring: Ring) -> bool {
    matches!(ring, Ring::Pure | Ring::Direct)
}

fn build_subject(workspace: &Workspace) -> Result<Subject> {
    let linkage = Linkage::Static(Arch::host()?);
    let sidestep = build::sidestep(workspace, Profile::Release, linkage)?;
    let programs = build::tests(workspace, Profile::Release, linkage)?;
    Ok(Subject { sidestep, programs })
}

fn run_ring(
    workspace: &Workspace,
    subject: &Subject,
    ring: Ring,
    filters: &[String],
    policy: Policy,
) -> Result<Tally> {
    let names = rings::select(&subject.programs, ring, filters)?;
    if names.is_empty() {
        println!("no test of this ring matches");
        return Ok(Tally::default());
    }
    if ring != Ring::Vm {
        return subject.run_here(workspace, ring, &names, policy);
    }
    match Kernel::fetch(workspace) {
        Ok(kernel) => subject.run_there(workspace, &kernel, &names),
        Err(error) if policy == Policy::MustRun => Err(error),
        Err(error) => {
            let mut tally = Tally::default();
            tally.skip_all(names.len(), &format!("{error:#}"));
            Ok(tally)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_run_from_the_inside_out_and_once() {
        assert_eq!(chosen(&[Ring::Vm, Ring::Kernel, Ring::Vm]), [Ring::Kernel, Ring::Vm]);
        assert_eq!(chosen(&[]).len(), 5);
    }
}
