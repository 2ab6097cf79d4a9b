//! The measurement: each way in turns, with a rest before and after.
//!
//! Threads: main.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::felt::{Felt, Lists, Who};
use crate::figures::Figures;
use crate::machine::{Machine, PATIENCE};
use crate::prober::Prober;
use crate::ways::{Jobs, Way};
use crate::{listener, say};

/// How long nothing runs before a command, and after it.
pub(crate) const REST: f64 = 0.5;
/// How long the guest has to itself before anything is measured: its kernel is still busy with itself.
const SETTLE: Duration = Duration::from_secs(3);

/// A command that ran, and what was felt meanwhile.
pub(crate) struct Round {
    pub(crate) way: Way,
    pub(crate) bytes: u64,
    /// When the command was sent, in the time of what was felt.
    pub(crate) begun: f64,
    pub(crate) took: f64,
    /// From a rest before to a rest after.
    pub(crate) felt: Lists,
}

impl Round {
    /// What was felt while nothing ran, before the command.
    pub(crate) fn at_rest(&self) -> Figures {
        Figures::between(&self.felt, self.begun - REST, self.begun)
    }

    /// What was felt while the command ran.
    pub(crate) fn meanwhile(&self) -> Figures {
        Figures::between(&self.felt, self.begun, self.begun + self.took)
    }
}

/// All rounds, and the version of the QEMU that they were in.
pub(crate) struct Rounds {
    pub(crate) qemu: String,
    pub(crate) rounds: Vec<Round>,
}

/// Measures. The guest is booting.
pub(crate) fn measure(machine: &Machine, rounds: u32, seconds: f64) -> io::Result<Rounds> {
    let felt = Arc::new(Felt::new());
    listener::start(machine.socket("report")?, Arc::clone(&felt));
    let probers = [("second", Who::Monitor), ("ours", Who::Server)];
    let probers = probers.map(|(name, who)| {
        machine.monitor(name).map(|monitor| Prober::start(monitor, who, Arc::clone(&felt)))
    });
    wait_for_everybody(machine, &felt)?;
    thread::sleep(SETTLE);
    let qemu = version(machine)?;
    say(&format!("trying the commands out, in QEMU {qemu}"));
    let mut jobs = Jobs::new(machine, seconds)?;
    let mut measured = Vec::new();
    for number in 1..=rounds {
        for way in Way::ALL {
            let round = one_round(machine, &felt, &mut jobs, way)?;
            let name = way.name();
            say(&format!("round {number} of {rounds}: {name}, {:.2} s", round.took));
            measured.push(round);
        }
    }
    for prober in probers {
        prober?.end()?;
    }
    Ok(Rounds { qemu, rounds: measured })
}

fn one_round(machine: &Machine, felt: &Felt, jobs: &mut Jobs, way: Way) -> io::Result<Round> {
    let rest = Duration::from_secs_f64(REST);
    jobs.prepare(way)?;
    felt.take();
    // One to have milestones before the other, which is measured.
    thread::sleep(2 * rest);
    let begun = felt.now();
    let done = jobs.run(way)?;
    thread::sleep(rest);
    wait_for_everybody(machine, felt)?;
    jobs.clear(way)?;
    let (bytes, took) = (jobs.bytes(way), done.seconds);
    // How fast it is changes with who else uses the machine.
    jobs.fit(way, took);
    Ok(Round { way, bytes, begun, took, felt: felt.take() })
}

/// Waits until everybody has felt something that began after now.
fn wait_for_everybody(machine: &Machine, felt: &Felt) -> io::Result<()> {
    let (now, started) = (felt.now(), Instant::now());
    while felt.everybody_has() < now {
        if started.elapsed() > PATIENCE || machine.has_ended() {
            return Err(io::Error::other("the guest, or a monitor, says nothing"));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn version(machine: &Machine) -> io::Result<String> {
    let version = machine.monitor("ours")?.ask("query-version", &json!({}))?;
    let number = |part: &str| version["qemu"][part].clone();
    Ok(format!("{}.{}.{}", number("major"), number("minor"), number("micro")))
}
