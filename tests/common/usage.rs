//! What this process uses, memory and processor time; and the end of what its threads do without one.

#![allow(dead_code, reason = "every test program uses another part")]

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What this process keeps in memory, in KiB.
pub(crate) fn resident_kib() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("the kernel tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it is there");
    line.trim().trim_end_matches(" kB").parse().expect("it is a number")
}

/// The processor time of all threads of this process so far.
pub(crate) fn cpu_time() -> Duration {
    let clock = nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID;
    nix::time::clock_gettime(clock).expect("the clock is known").into()
}

/// Tells a thread of a scope to end, also when the scope is left in a panic, which would wait for it for ever.
pub(crate) struct DoneOnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for DoneOnDrop<'_> {
    fn drop(&mut self) {
        // Relaxed: nothing else is passed on.
        self.0.store(true, Ordering::Relaxed);
    }
}
