//! A client that asks for `query-status` every 10 ms, and measures how long that takes.
//!
//! Threads: one each.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::json;

use crate::felt::{Felt, PERIOD, Sample, Who};
use crate::monitor::Monitor;

/// A client at work.
pub(crate) struct Prober {
    is_wanted: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<()>>,
}

impl Prober {
    pub(crate) fn start(monitor: Monitor, who: Who, felt: Arc<Felt>) -> Self {
        let is_wanted = Arc::new(AtomicBool::new(true));
        let wanted = Arc::clone(&is_wanted);
        let thread = thread::spawn(move || probe(monitor, who, &felt, &wanted));
        Self { is_wanted, thread }
    }

    /// Waits for the end of the last request.
    pub(crate) fn end(self) -> io::Result<()> {
        // Relaxed: nothing else is handed over.
        self.is_wanted.store(false, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("a prober has a bug")))
    }
}

fn probe(mut monitor: Monitor, who: Who, felt: &Felt, wanted: &AtomicBool) -> io::Result<()> {
    while wanted.load(Ordering::Relaxed) {
        sleep_until_next_period(felt);
        let begun = felt.now();
        monitor.ask("query-status", &json!({}))?;
        felt.add(Sample { who, begun, took: felt.now() - begun });
    }
    Ok(())
}

/// Who comes late skips what was missed: `figures.rs` counts it.
fn sleep_until_next_period(felt: &Felt) {
    let (now, period) = (felt.now(), PERIOD.as_secs_f64());
    let due = ((now / period).floor() + 1.0) * period;
    thread::sleep(Duration::from_secs_f64(due - now));
}
