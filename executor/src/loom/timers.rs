//! The deadline queue: a sleep that is dropped or polled elsewhere while home fires.

use std::sync::Arc;
use std::task::{Wake, Waker};

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::model;
use crate::clock::Clock;
use crate::time::TimerQueue;

/// Counts how often it is woken, and tells when it is gone.
struct Count(AtomicUsize);

impl Count {
    fn new() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        (Arc::clone(&count), Waker::from(count))
    }

    fn woken(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Catches a `fire` that forgets what it took, and a `cancel` that ignores the generation.
#[test]
fn a_timer_fires_or_is_cancelled_and_the_next_one_in_its_slot_fires() {
    model(|| {
        let timers = Arc::new(TimerQueue::new());
        let (first, waker) = Count::new();
        let (key, _) = timers.insert(Clock::Realtime, 1, &waker);
        drop(waker);
        let queue = Arc::clone(&timers);
        let elsewhere = thread::spawn(move || queue.cancel(key));
        let fired = timers.fire(Clock::Realtime, 1);
        assert_eq!(fired, first.woken());
        let (second, waker) = Count::new();
        timers.insert(Clock::Realtime, 2, &waker);
        elsewhere.join().expect("cancels");
        assert_eq!(Arc::strong_count(&first), 1, "the waker of the first is gone");
        assert_eq!(timers.fire(Clock::Realtime, 2), 1);
        assert_eq!(second.woken(), 1);
    });
}

/// Catches an `update` that answers what it saw when it looked first.
#[test]
fn a_sleep_that_found_its_timer_pending_is_woken() {
    model(|| {
        let timers = Arc::new(TimerQueue::new());
        let (first, waker) = Count::new();
        let (key, _) = timers.insert(Clock::Realtime, 1, &waker);
        let queue = Arc::clone(&timers);
        let elsewhere = thread::spawn(move || {
            let (second, waker) = Count::new();
            (queue.update(&key, &waker), second)
        });
        timers.fire(Clock::Realtime, 1);
        timers.close();
        let (pending, second) = elsewhere.join().expect("updates");
        assert_eq!((first.woken(), second.woken()), if pending { (0, 1) } else { (1, 0) });
    });
}
