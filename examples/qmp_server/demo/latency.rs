//! How long replies take.
//!
//! Owns the measurements of one phase. Threads: any.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::client::Client;

/// B's question is asked this often.
const PERIOD: Duration = Duration::from_millis(1);

/// The times of a number of replies.
pub(super) struct Latencies {
    sorted: Vec<Duration>,
}

impl Latencies {
    /// Asks `query-status` once a millisecond until `work`, in another thread, is done.
    pub(super) fn during<R: Send>(
        client: &mut Client,
        work: impl FnOnce() -> R + Send,
    ) -> io::Result<(Self, R)> {
        thread::scope(|scope| {
            let work = scope.spawn(work);
            let mut sorted = Vec::new();
            while !work.is_finished() {
                let asked = Instant::now();
                client.call("query-status", &json!({}))?;
                sorted.push(asked.elapsed());
                thread::sleep(PERIOD.saturating_sub(asked.elapsed()));
            }
            sorted.sort_unstable();
            Ok((Self { sorted }, work.join().expect("the other client does not panic")))
        })
    }

    pub(super) fn count(&self) -> usize {
        self.sorted.len()
    }

    /// Returns the time that `percent` of the replies did not exceed.
    pub(super) fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.sorted.len() * percent).div_ceil(100).max(1);
        self.sorted.get(rank - 1).copied().unwrap_or_default()
    }

    pub(super) fn max(&self) -> Duration {
        self.sorted.last().copied().unwrap_or_default()
    }
}
