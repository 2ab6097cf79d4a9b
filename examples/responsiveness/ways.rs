//! The long command, in three ways: SHA-256 of so many zeros.
//!
//! | way | command | where it computes |
//! |---|---|---|
//! | C | `x-debug-block-dirty-bitmap-sha256` of a bitmap without marks | main loop, with the lock |
//! | naive Rust | `x-blocking-blockdev-checksum` of the guest's disk | main loop, with the lock |
//! | async Rust | `x-blockdev-checksum` of the guest's disk | iothread, without |
//!
//! The first is the one command of QEMU's that is the same job, at whatever size: a bitmap of a disk that exists by
//! name only, a bit for each 512 bytes. It reads no disk; the others do. All three must come to the same result.
//!
//! Threads: main.

use std::io;
use std::time::Instant;

use serde::Serialize;
use serde_json::{Value, json};

use crate::machine::{DISK, Machine};
use crate::monitor::Monitor;

/// How the job is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Way {
    C,
    NaiveRust,
    AsyncRust,
}

impl Way {
    pub(crate) const ALL: [Self; 3] = [Self::C, Self::NaiveRust, Self::AsyncRust];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::C => "C command",
            Self::NaiveRust => "naive Rust handler",
            Self::AsyncRust => "async Rust handler",
        }
    }

    pub(crate) fn command(self) -> &'static str {
        match self {
            Self::C => "x-debug-block-dirty-bitmap-sha256",
            Self::NaiveRust => "x-blocking-blockdev-checksum",
            Self::AsyncRust => "x-blockdev-checksum",
        }
    }
}

/// How much is tried out at first.
const TRIAL: u64 = 256 << 20;
/// A bitmap is in memory, if only on paper.
const LARGEST_BITMAP: u64 = 4 << 30;
/// What one byte of a bitmap covers, at its finest.
const COVERED: u64 = 8 * 512;

/// The clients that ask for the long commands.
pub(crate) struct Jobs {
    qemu: Monitor,
    ours: Monitor,
    /// How long each job is to take.
    seconds: f64,
    bytes: [u64; 3],
}

/// A job that was done.
pub(crate) struct Done {
    pub(crate) seconds: f64,
    sha256: String,
}

impl Jobs {
    /// Tries each way out, and finds out how much to compute for it to take so many seconds.
    pub(crate) fn new(machine: &Machine, seconds: f64) -> io::Result<Self> {
        let (qemu, ours) = (machine.monitor("first")?, machine.monitor("ours")?);
        let mut this = Self { qemu, ours, seconds, bytes: [TRIAL; 3] };
        let mut results = Vec::new();
        for way in Way::ALL {
            let done = this.try_out(way)?;
            results.push(done.sha256);
            // What is over soon says little, so there is a second trial.
            this.fit(way, done.seconds);
            let done = this.try_out(way)?;
            this.fit(way, done.seconds);
        }
        if results.iter().any(|result| *result != results[0]) {
            return Err(io::Error::other(format!("the results differ: {results:?}")));
        }
        Ok(this)
    }

    fn try_out(&mut self, way: Way) -> io::Result<Done> {
        self.prepare(way)?;
        let done = self.run(way)?;
        self.clear(way)?;
        Ok(done)
    }

    /// Changes how much that way is to compute, since it took so many seconds.
    pub(crate) fn fit(&mut self, way: Way, took: f64) {
        let bytes = self.bytes(way) as f64 * self.seconds / took;
        let most = if way == Way::C { LARGEST_BITMAP } else { DISK };
        // Whole blocks.
        self.bytes[way as usize] = (bytes as u64 >> 20 << 20).clamp(1 << 20, most);
    }

    /// How much that way is to compute.
    pub(crate) fn bytes(&self, way: Way) -> u64 {
        self.bytes[way as usize]
    }

    /// Makes what the command works on.
    pub(crate) fn prepare(&mut self, way: Way) -> io::Result<()> {
        if way == Way::C {
            let size = self.bytes(way) * COVERED;
            let node = json!({ "node-name": "bits", "driver": "null-co", "size": size });
            self.qemu.ask("blockdev-add", &node)?;
            let fine = json!({ "node": "bits", "name": "bits", "granularity": 512 });
            self.qemu.ask("block-dirty-bitmap-add", &fine)?;
        }
        Ok(())
    }

    /// Has the job done that way.
    pub(crate) fn run(&mut self, way: Way) -> io::Result<Done> {
        let mut disk = json!({ "device": "disk0", "length": self.bytes(way) });
        match way {
            Way::C => {
                timed(&mut self.qemu, way, &json!({ "node": "bits", "name": "bits" }), "sha256")
            }
            Way::NaiveRust => timed(&mut self.qemu, way, &disk, "digest"),
            Way::AsyncRust => {
                disk["iothread"] = json!("io0");
                timed(&mut self.ours, way, &disk, "digest")
            }
        }
    }

    /// Removes what was made.
    pub(crate) fn clear(&mut self, way: Way) -> io::Result<()> {
        if way == Way::C {
            let bitmap = json!({ "node": "bits", "name": "bits" });
            self.qemu.ask("block-dirty-bitmap-remove", &bitmap)?;
            self.qemu.ask("blockdev-del", &json!({ "node-name": "bits" }))?;
        }
        Ok(())
    }
}

fn timed(monitor: &mut Monitor, way: Way, arguments: &Value, result: &str) -> io::Result<Done> {
    let started = Instant::now();
    let mut returned = monitor.ask(way.command(), arguments)?;
    let seconds = started.elapsed().as_secs_f64();
    match returned[result].take() {
        Value::String(sha256) => Ok(Done { seconds, sha256 }),
        other => Err(io::Error::other(format!("{}: no result but {other}", way.command()))),
    }
}
