//! Counting: what the test programs say about themselves, summed over all rings.
//!
//! It reads libtest's own lines, which every ring prints, and the harness's list of tests that could not run. A test
//! that could not run ended without failing, so libtest calls it passed; it is counted as skipped here.

use std::fmt;

/// What became of the tests of one or several rings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
    /// What failed, by the name a person would look for.
    failures: Vec<String>,
    /// What could not run and why.
    skips: Vec<String>,
    /// How many test programs came to their end and said so.
    results: usize,
}

impl Tally {
    /// Reads one line of a test program's output.
    pub(super) fn read(&mut self, line: &str) {
        if let Some(result) = parse_result(line) {
            self.passed += result.passed;
            self.failed += result.failed;
            self.skipped += result.ignored;
            self.results += 1;
        } else if let Some(name) =
            line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            self.failures.push(name.to_owned());
        }
    }

    /// Takes the harness's list of tests that could not run; each is counted once however often it says so.
    pub(super) fn skip(&mut self, lines: impl IntoIterator<Item = String>) {
        for line in lines {
            if line.trim().is_empty() || self.skips.contains(&line) {
                continue;
            }
            self.passed = self.passed.saturating_sub(1);
            self.skipped += 1;
            self.skips.push(line);
        }
    }

    /// Counts tests that were never started, for one reason.
    pub(super) fn skip_all(&mut self, count: usize, why: &str) {
        self.skipped += count;
        self.skips.push(format!("{count} tests: {why}"));
    }

    /// Counts a failure that is not a test's own.
    pub(super) fn fail(&mut self, what: String) {
        self.failed += 1;
        self.failures.push(what);
    }

    /// Whether at least one test program ran to its end.
    pub(super) fn has_result(&self) -> bool {
        self.results > 0
    }

    /// Whether anything failed.
    pub(super) fn has_failures(&self) -> bool {
        self.failed > 0
    }

    /// How many tests were started or named as skipped.
    pub(super) fn seen(&self) -> usize {
        self.passed + self.failed + self.skipped
    }

    /// How many tests ran and held.
    pub(super) fn passed(&self) -> usize {
        self.passed
    }

    /// Adds what another ring saw, its failures and skips under that ring's name.
    pub(super) fn add(&mut self, ring: &str, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.results += other.results;
        self.failures.extend(other.failures.into_iter().map(|name| format!("{ring}: {name}")));
        self.skips.extend(other.skips.into_iter().map(|line| format!("{ring}: {line}")));
    }

    /// The failures and skips, one line each, for a person at the end of a long output.
    pub(super) fn details(&self) -> impl Iterator<Item = String> {
        let skips = self.skips.iter().map(|line| format!("skipped  {line}"));
        skips.chain(self.failures.iter().map(|name| format!("FAILED   {name}")))
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// One result line of libtest.
#[derive(Debug, PartialEq, Eq)]
struct TestResult {
    passed: usize,
    failed: usize,
    ignored: usize,
}

fn parse_result(line: &str) -> Option<TestResult> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |word: &str| {
        counts.split(';').find_map(|part| part.trim().strip_suffix(word)?.trim().parse::<usize>().ok())
    };
    Some(TestResult { passed: count("passed")?, failed: count("failed")?, ignored: count("ignored")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: &str =
        "test result: ok. 23 passed; 0 failed; 1 ignored; 0 measured; 4 filtered out; finished in 1.10s";
    const FAILED: &str =
        "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";

    fn tally(lines: &[&str]) -> Tally {
        let mut tally = Tally::default();
        lines.iter().for_each(|line| tally.read(line));
        tally
    }

    #[test]
    fn results_of_several_programs_are_summed() {
        let tally = tally(&["running 23 tests", OK, "", FAILED]);
        assert_eq!(tally.to_string(), "25 passed, 1 failed, 1 skipped");
        assert!(tally.has_result());
    }

    #[test]
    fn a_program_that_died_has_no_result() {
        assert!(!tally(&["running 23 tests", "test a ... ok"]).has_result());
        assert!(!tally(&["test result: nonsense"]).has_result());
    }

    #[test]
    fn a_test_that_could_not_run_counts_as_skipped_and_once() {
        let mut tally = tally(&[OK]);
        let line = "kernel::a: needs the program nft in PATH".to_owned();
        tally.skip([line.clone(), line, String::new()]);
        assert_eq!(tally.to_string(), "22 passed, 0 failed, 2 skipped");
    }

    #[test]
    fn failures_keep_their_names_and_rings() {
        let mut total = Tally::default();
        total.add("kernel", tally(&["test kernel::a_denied_connect ... FAILED", "test b ... ok", FAILED]));
        total.fail("left behind: cgroup sidestep-1".to_owned());
        assert_eq!(total.to_string(), "2 passed, 2 failed, 0 skipped");
        let details: Vec<String> = total.details().collect();
        assert_eq!(
            details,
            ["FAILED   kernel: kernel::a_denied_connect", "FAILED   left behind: cgroup sidestep-1"]
        );
    }

    #[test]
    fn a_ring_that_cannot_run_counts_all_its_tests() {
        let mut tally = Tally::default();
        tally.skip_all(12, "no qemu");
        assert_eq!(tally.to_string(), "0 passed, 0 failed, 12 skipped");
        assert_eq!(tally.details().collect::<Vec<_>>(), ["skipped  12 tests: no qemu"]);
    }
}
