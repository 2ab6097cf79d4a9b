//! What the guest reports, put into the host's time.
//!
//! A report begins with the guest's time when it was sent. It comes a little later, or, if something is held up,
//! much later; so of all reports within a few seconds the one that took the least time tells how the clocks differ.
//! What that one took, mostly well below a millisecond, remains as an error of when something was felt, not of how
//! long it took.
//!
//! Threads: one, until QEMU closes the socket.

use std::io::{self, BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

use crate::felt::{Felt, Milestone, Sample, Who};

/// How many reports tell how the clocks differ: 10 seconds' worth.
const REPORTS: usize = 200;

/// Starts to listen.
pub(crate) fn start(socket: UnixStream, felt: Arc<Felt>) {
    thread::spawn(move || {
        let mut listener = Listener { felt, offsets: Vec::new(), samples: Vec::new() };
        // The end is QEMU's, which others notice.
        let _ = listener.listen(BufReader::new(socket));
    });
}

struct Listener {
    felt: Arc<Felt>,
    /// The host's time of an arrival minus the guest's when it was sent.
    offsets: Vec<f64>,
    /// In the guest's time.
    samples: Vec<Sample>,
}

impl Listener {
    fn listen(&mut self, socket: impl BufRead) -> io::Result<()> {
        for line in socket.lines() {
            let line = line?;
            let mut words = line.split(' ');
            let kind = words.next();
            let mut number = || words.next().and_then(|word| word.parse::<f64>().ok());
            let (Some(first), second) = (number(), number()) else { continue };
            let seconds = first * 1e-9;
            match (kind, second) {
                (Some("c"), None) => self.begin(seconds),
                // The rest of a report whose beginning nobody has heard.
                _ if self.offsets.is_empty() => {}
                (Some("w"), Some(steps)) => self.milestone(seconds, steps),
                (Some("d"), Some(took)) => self.sample(Who::GuestDisk, seconds, took * 1e-9),
                (Some("t"), Some(late)) => self.sample(Who::GuestTimer, seconds, late * 1e-9),
                _ => {}
            }
        }
        Ok(())
    }

    /// A report begins, so the one before is complete.
    fn begin(&mut self, sent: f64) {
        self.offsets.push(self.felt.now() - sent);
        if self.offsets.len() > REPORTS {
            self.offsets.remove(0);
        }
        let offset = self.offset();
        for sample in &mut self.samples {
            sample.begun += offset;
        }
        self.felt.add_all(&self.samples, None);
        self.samples.clear();
    }

    fn offset(&self) -> f64 {
        self.offsets.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn milestone(&self, at: f64, steps: f64) {
        self.felt.add_all(&[], Some(Milestone { at: at + self.offset(), steps }));
    }

    fn sample(&mut self, who: Who, begun: f64, took: f64) {
        self.samples.push(Sample { who, begun, took });
    }
}
