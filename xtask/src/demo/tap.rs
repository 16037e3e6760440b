//! A tcpdump on a pod's end of the wire, and what it has recorded.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::pcap::{self, Streams};
use crate::lab::{Lab, Pod, Program};

/// What tcpdump says when it records.
const LISTENING: &str = "listening on ";

/// A recording that goes on.
#[derive(Debug)]
pub(super) struct Tap {
    tcpdump: Program,
    file: PathBuf,
}

/// What went over the wire while it was looked at.
#[derive(Debug)]
pub(super) struct Recording {
    pub(super) streams: Streams,
    file: Vec<u8>,
}

impl Tap {
    /// Begins to record all TCP that passes a pod's end of the wire; `name` is a file's.
    pub(super) fn begin(lab: &Lab, pod: &Pod, name: &str) -> Result<Self> {
        Self::on(lab, pod.app("tcpdump"), "eth0", name)
    }

    /// The same of an interface, by a `tcpdump` that is where that interface is.
    pub(super) fn on(lab: &Lab, mut command: Command, interface: &str, name: &str) -> Result<Self> {
        let file = lab.file(&format!("{name}.pcap"));
        // Whole packets, each written when it has come, by the user we are: another may not write here.
        command.args(["-i", interface, "-n", "-s", "0", "-U", "--immediate-mode", "-Z", "root"]);
        command.arg("-w").arg(&file).arg("tcp");
        let mut tcpdump = Program::start("tcpdump", command, lab.file(&format!("{name}.tcpdump.log")))?;
        lab.patience().until("tcpdump to record", || {
            tcpdump.check()?;
            Ok(tcpdump.said().contains(LISTENING).then_some(()))
        })?;
        Ok(Self { tcpdump, file })
    }

    /// Ends it, and reads what was recorded.
    pub(super) fn end(mut self) -> Result<Recording> {
        let status = self.tcpdump.stop()?;
        ensure!(status.success(), "tcpdump ended with {status}: {}", self.tcpdump.said());
        let file = fs::read(&self.file).with_context(|| format!("read {}", self.file.display()))?;
        Ok(Recording { streams: pcap::streams(&file)?, file })
    }
}

impl Recording {
    /// Whether these bytes were on the wire anywhere.
    pub(super) fn shows(&self, text: &str) -> bool {
        self.file.windows(text.len()).any(|window| window == text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::super::pcap::tests::recording;
    use super::*;

    #[test]
    fn a_recording_shows_what_was_sent_in_plain_text() {
        let file = recording(&[(4000, 8080, 1, b"GET /plain HTTP/1.1\r\n")]);
        let recording = Recording { streams: pcap::streams(&file).unwrap(), file };
        assert!(recording.shows("/plain") && !recording.shows("/secret"));
        assert_eq!(recording.streams.len(), 1);
    }
}
