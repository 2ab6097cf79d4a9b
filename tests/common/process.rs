//! Tests that need a process of their own: global state, or an abort that is expected.
//!
//! The child is the same test program with one test selected. An environment variable tells the test
//! that it is the child.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "a module of several tests, each of which uses a part"
)]

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

const CHILD: &str = "CONFORMANCE_CHILD";

fn child(name: &str, scenario: impl FnOnce()) -> Output {
    if std::env::var(CHILD).as_deref() == Ok(name) {
        let _ = nix::sys::prctl::set_dumpable(false);
        scenario();
        std::process::exit(0);
    }
    let program = std::env::current_exe().expect("a test has an executable");
    let mut command = Command::new(program);
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(CHILD, name);
    command.output().expect("a test can start itself")
}

/// Runs the test called `name` in a process of its own: the main loop and the clocks are global.
pub fn in_own_process(name: &str, scenario: impl FnOnce()) {
    let output = child(name, scenario);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
}

/// Runs the test called `name` in a process of its own, and checks that it aborts and says `sentence`.
#[track_caller]
pub fn aborts(name: &str, sentence: &str, scenario: impl FnOnce()) {
    let output = child(name, scenario);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let aborted = output.status.signal() == Some(nix::sys::signal::Signal::SIGABRT as i32);
    assert!(aborted, "the process did not abort: {}: {stderr}", output.status);
    assert!(stderr.contains(sentence), "`{sentence}` is not in: {stderr}");
}
