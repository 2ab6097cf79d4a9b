//! The program `responsiveness`: that the picture it draws is true, for a second of each command.
//!
//! With a QEMU on the path and a kernel for its guest in the folder `$GUEST_KERNEL`, into which the program fetches one
//! if need be; without that variable only what needs neither is tested, and that is said.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use felt::{Lists, Milestone, Sample, Who};
use figures::Figures;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

#[allow(dead_code, reason = "nothing is measured here")]
#[path = "../examples/responsiveness/felt.rs"]
mod felt;
#[allow(dead_code, reason = "nothing is measured here")]
#[path = "../examples/responsiveness/figures.rs"]
mod figures;

#[test]
fn who_is_held_up_once_waits_at_every_moment_at_which_something_was_due() {
    let sample = |begun: f64, took: f64| Sample { who: Who::Monitor, begun, took };
    let quick = (0..100).map(|period| sample(f64::from(period) / 100.0, 0.001));
    // Then nothing for two seconds.
    let samples = quick.chain([sample(1.0, 1.999), sample(3.0, 0.001)]).collect();
    let steps = [0.0, 50.0, 50.0, 100.0];
    let milestones = [0.0, 1.0, 3.0, 5.0].into_iter().zip(steps);
    let milestones = milestones.map(|(at, steps)| Milestone { at, steps }).collect();
    let felt = Lists { samples, milestones };

    let before = Figures::between(&felt, 0.0, 0.999);
    let latency = before.of(Who::Monitor);
    assert_eq!((latency.count, latency.median, latency.max), (100, 1000.0, 1000.0));
    assert!((before.work - 50.0).abs() < 0.1);

    let meanwhile = Figures::between(&felt, 0.999, 2.999);
    let latency = meanwhile.of(Who::Monitor);
    let close = |micros: f64, seconds: f64| (micros / 1e6 - seconds).abs() < 0.011;
    assert_eq!(latency.count, 200);
    assert!(close(latency.max, 2.0) && close(latency.p99, 1.98) && close(latency.median, 1.0));
    assert!(meanwhile.work < 0.1);
}

/// The program, with a folder of its own for what it leaves.
fn program(folder: &Path) -> Command {
    let test = env::current_exe().expect("a test has an executable");
    let examples = test.ancestors().nth(2).expect("it is in a folder of a folder").join("examples");
    let program = examples.join("responsiveness");
    assert!(program.exists(), "{} is missing: run all of `cargo test`", program.display());
    let mut command = Command::new(program);
    command.env("TMPDIR", folder).current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

/// The kernel, for one test at a time: the first fetches it, and each wants the processors for itself.
fn guest_kernel() -> Option<(OsString, MutexGuard<'static, ()>)> {
    static IN_USE: Mutex<()> = Mutex::new(());
    let kernel = env::var_os("GUEST_KERNEL");
    if kernel.is_none() {
        println!("skipped: there is no folder $GUEST_KERNEL");
    }
    kernel.map(|kernel| (kernel, IN_USE.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("test-{name}-{}", std::process::id()));
        fs::create_dir(&path).expect("nobody else has a folder of that name");
        Self(path)
    }

    fn is_empty(&self) -> bool {
        fs::read_dir(&self.0).expect("it is there").next().is_none()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left over is the system's to clean up.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn without_a_kernel_it_says_how_to_get_one() {
    let folder = Folder::new("no-kernel");
    let output = program(&folder.0).arg("--kernel").arg(folder.0.join("nowhere")).output();
    let output = output.expect("it can be started");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("there is no kernel") && said.contains("--fetch-kernel"), "{said}");
    assert!(folder.is_empty());
}

#[test]
fn blocking_commands_hold_guest_and_monitor_up_and_the_async_one_does_not() {
    let Some((kernel, _in_use)) = guest_kernel() else { return };
    let (folder, out) = (Folder::new("measured"), Folder::new("written"));
    let mut command = program(&folder.0);
    command.args(["--fetch-kernel", "--seconds", "1", "--rounds", "1", "--kernel"]).arg(kernel);
    let output = command.arg("--out").arg(&out.0).stderr(Stdio::inherit()).output();
    let output = output.expect("it can be started");
    assert!(output.status.success(), "{}", output.status);

    let table = String::from_utf8(output.stdout).expect("it prints text");
    println!("{table}");
    assert_eq!(table.lines().filter(|line| line.starts_with('|')).count(), 2 + 4);
    let read = |name: &str| fs::read_to_string(out.0.join(name)).expect("it is written");
    assert!(read("responsiveness.svg").contains("async Rust handler"));
    let report: Value = serde_json::from_str(&read("responsiveness.json")).expect("it is JSON");
    check(&report);
    assert!(folder.is_empty(), "it leaves something behind");
}

/// What somebody felt of a command, in parts of the time that it took.
fn part(way: &Value, who: &str, what: &str) -> f64 {
    let micros = way["latencies_us"][who][what].as_f64().expect("it is a number");
    micros / 1e6 / way["seconds"].as_f64().expect("it is a number")
}

fn check(report: &Value) {
    let [c, naive, ours] = [0, 1, 2].map(|way| &report["ways"][way]);
    assert_eq!([c, naive, ours].map(|way| &way["way"]), ["c", "naive_rust", "async_rust"]);
    for who in ["monitor", "server", "guest_disk", "guest_timer"] {
        for blocking in [c, naive] {
            // All that was due while it ran had to wait for its end.
            assert!(part(blocking, who, "max") > 0.5, "{who}: {}", blocking["latencies_us"]);
            assert!(part(blocking, who, "median") > 0.25, "{who}: {}", blocking["latencies_us"]);
        }
        assert!(part(ours, who, "median") < 0.1, "{who}: {}", ours["latencies_us"]);
        let timeline = ours["rounds"][0]["timeline_ms_us"][who].as_array().expect("it is a list");
        assert!(timeline.len() > 20, "{who} has felt too little: {timeline:?}");
    }
    // The guest's worst depends on what else the host does.
    assert!(part(ours, "monitor", "max") < 0.5, "{}", ours["latencies_us"]);
}

#[test]
fn interrupted_it_leaves_nothing() {
    let Some((kernel, _in_use)) = guest_kernel() else { return };
    let folder = Folder::new("interrupted");
    let mut command = program(&folder.0);
    command.args(["--fetch-kernel", "--kernel"]).arg(kernel).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it can be started");
    let mut said = BufReader::new(child.stderr.take().expect("it is a pipe")).lines();
    let booting =
        |line: std::io::Result<String>| line.expect("it is text").ends_with("booting the guest");
    assert!(said.any(booting), "it does not come to that");
    let pid = Pid::from_raw(child.id().try_into().expect("a process id is an int"));
    kill(pid, Signal::SIGINT).expect("it is our child");
    assert_eq!(child.wait().expect("it is our child").code(), Some(130));
    assert!(folder.is_empty());
}
