//! The inbox: two threads push while home takes and closes.

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread::{self, JoinHandle};

use super::model;
use crate::inbox::{Inbox, Job, Pushed, Taken};

/// What became of the jobs.
struct Ledger {
    inbox: Inbox,
    served: AtomicUsize,
    discarded: AtomicUsize,
}

/// What a job carries. Loom sees to it that it was written before it is read.
struct Letter {
    ledger: Arc<Ledger>,
    content: UnsafeCell<bool>,
}

impl Ledger {
    fn new() -> Arc<Ledger> {
        let (served, discarded) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Ledger { inbox: Inbox::new(), served, discarded })
    }

    /// Pushes a job on a thread of its own.
    fn push(self: &Arc<Ledger>) -> JoinHandle<Option<Pushed>> {
        let ledger = Arc::clone(self);
        thread::spawn(move || {
            let letter = Letter { ledger: Arc::clone(&ledger), content: UnsafeCell::new(false) };
            letter.content.with_mut(|_written| ());
            Job::new(move || letter.serve()).push_to(&ledger.inbox).ok()
        })
    }

    fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    fn discarded(&self) -> usize {
        self.discarded.load(Ordering::Relaxed)
    }
}

impl Letter {
    fn serve(self) {
        self.ledger.served.fetch_add(1, Ordering::Relaxed);
        self.ledger.discarded.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Letter {
    fn drop(&mut self) {
        self.content.with_mut(|_read| ());
        self.ledger.discarded.fetch_add(1, Ordering::Relaxed);
    }
}

/// Serves what there is. Returns 1 if there was something.
fn batch(taken: Taken<'_>) -> usize {
    usize::from(taken.serve() > 0)
}

fn rings(pushed: &[Option<Pushed>]) -> usize {
    pushed.iter().filter(|&pushed| *pushed == Some(Pushed::First)).count()
}

/// Catches `First` from a head that was not empty.
#[test]
fn the_first_of_each_batch_rings_and_nobody_else() {
    model(|| {
        let ledger = Ledger::new();
        let pushers = [ledger.push(), ledger.push()];
        let mut batches = batch(ledger.inbox.take());
        let pushed = pushers.map(|pusher| pusher.join().expect("pushes"));
        batches += batch(ledger.inbox.take());
        assert_eq!(rings(&pushed), batches);
        assert_eq!((ledger.served(), ledger.discarded()), (2, 0));
    });
}

/// Catches a `close` that looks first and stores then, a `take` that does not acquire, and a `push` that does not
/// release.
#[test]
fn a_job_is_served_or_discarded_or_refused_whenever_the_inbox_is_closed() {
    model(|| {
        let ledger = Ledger::new();
        let pushers = [ledger.push(), ledger.push()];
        let mut batches = batch(ledger.inbox.take());
        drop(ledger.inbox.close());
        let pushed = pushers.map(|pusher| pusher.join().expect("pushes"));
        assert_eq!(ledger.inbox.take().serve(), 0);
        assert_eq!(ledger.served() + ledger.discarded(), 2);
        let refused = pushed.iter().filter(|pushed| pushed.is_none()).count();
        batches += usize::from(ledger.discarded() > refused);
        assert_eq!(rings(&pushed), batches);
    });
}
