//! How far a long run is: a bar on a terminal, a line now and then elsewhere.
//!
//! It only draws when it is told of a step, never from a thread of its own: whoever measures is not disturbed while a
//! sample is taken.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How the bar looks.
const TEMPLATE: &str = "bench: {msg} [{wide_bar:.cyan/blue}] {pos}/{len}, {eta} left";
/// Between two lines where there is no terminal.
const QUIET: Duration = Duration::from_secs(10);

/// A known number of steps. It disappears with its value, so that an error stands alone on the terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    began: Instant,
    spoke: Instant,
    what: String,
}

impl Progress {
    /// Begins with nothing done, on stderr.
    pub(crate) fn of(steps: u64) -> Result<Self> {
        let style = ProgressStyle::with_template(TEMPLATE).context("read the bar's template")?;
        let target = ProgressDrawTarget::stderr();
        let bar = ProgressBar::with_draw_target(Some(steps), target).with_style(style.progress_chars("=> "));
        let began = Instant::now();
        Ok(Self { bar, began, spoke: began, what: String::new() })
    }

    /// Says what the next steps are.
    pub(crate) fn phase(&mut self, what: &str) {
        what.clone_into(&mut self.what);
        match self.bar.is_hidden() {
            true => self.speak(),
            false => self.bar.set_message(what.to_owned()),
        }
    }

    /// One step is done.
    pub(crate) fn step(&mut self) {
        self.bar.inc(1);
        if self.bar.is_hidden() && self.spoke.elapsed() >= QUIET {
            self.speak();
        }
    }

    fn speak(&mut self) {
        let (done, of) = (self.bar.position(), self.bar.length().unwrap_or(0));
        eprintln!("bench: {}", line(&self.what, done, of, self.began.elapsed()));
        self.spoke = Instant::now();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn line(what: &str, done: u64, of: u64, elapsed: Duration) -> String {
    let left = time_left(done, of, elapsed).map_or_else(String::new, |left| {
        format!(", about {} left", humantime::format_duration(Duration::from_secs(left.as_secs())))
    });
    format!("{what}, {done} of {of} steps{left}")
}

/// If the steps to come take as long as those before.
fn time_left(done: u64, of: u64, elapsed: Duration) -> Option<Duration> {
    let each = elapsed.as_secs_f64() / Some(done).filter(|&done| done > 0)? as f64;
    Duration::try_from_secs_f64(each * of.saturating_sub(done) as f64).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_what_is_done_and_how_long_the_rest_takes() {
        let minute = Duration::from_secs(60);
        assert_eq!(line("latency", 20, 50, minute), "latency, 20 of 50 steps, about 1m 30s left");
        assert_eq!(line("memory", 0, 50, minute), "memory, 0 of 50 steps");
    }

    #[test]
    fn the_template_is_one_that_the_bar_understands() {
        let mut progress = Progress::of(10).unwrap();
        progress.phase("latency");
        progress.step();
        assert_eq!((progress.bar.position(), progress.bar.length()), (1, Some(10)));
    }
}
