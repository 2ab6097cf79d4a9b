//! Tests of the deadline queue.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};

use super::{BATCH, TimerKey, TimerQueue};
use crate::clock::Clock;

/// Writes its name into a shared list when woken.
struct Named(usize, Arc<Mutex<Vec<usize>>>);

impl Wake for Named {
    fn wake(self: Arc<Self>) {
        self.1.lock().unwrap().push(self.0);
    }
}

struct Bench {
    queue: TimerQueue,
    woken: Arc<Mutex<Vec<usize>>>,
}

impl Bench {
    fn new() -> Self {
        Self { queue: TimerQueue::new(), woken: Arc::default() }
    }

    fn waker(&self, name: usize) -> Waker {
        Waker::from(Arc::new(Named(name, Arc::clone(&self.woken))))
    }

    fn add(&self, deadline: i64, name: usize) -> (TimerKey, bool) {
        self.queue.insert(Clock::Realtime, deadline, &self.waker(name))
    }

    fn fire(&self, now: i64) -> Vec<usize> {
        let fired = self.queue.fire(Clock::Realtime, now);
        let woken = std::mem::take(&mut *self.woken.lock().unwrap());
        assert_eq!(fired, woken.len());
        woken
    }
}

/// A small pseudo-random generator, the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

#[test]
fn equal_deadlines_fire_in_the_order_of_insertion() {
    let bench = Bench::new();
    for name in 0..3 * BATCH {
        bench.add(7, name);
    }

    assert!(bench.fire(6).is_empty());
    assert_eq!(bench.fire(7), (0..3 * BATCH).collect::<Vec<_>>());
    assert!(bench.fire(8).is_empty());
}

#[test]
fn only_a_new_earliest_deadline_asks_for_re_arming() {
    let bench = Bench::new();

    assert!(bench.add(10, 0).1);
    assert!(!bench.add(10, 1).1);
    assert!(!bench.add(20, 2).1);
    assert!(bench.add(5, 3).1);
    assert_eq!(bench.queue.next_deadline(Clock::Realtime), Some(5));
    assert!(bench.queue.insert(Clock::Virtual, 100, Waker::noop()).1, "clocks are apart");
}

#[test]
fn every_mix_of_inserts_and_cancels_agrees_with_a_sorted_list() {
    let bench = Bench::new();
    let mut random = Random(1);
    let mut model: Vec<(i64, usize, TimerKey)> = Vec::new();
    for name in 0..if cfg!(miri) { 200 } else { 4_000 } {
        if !model.is_empty() && random.below(5) < 2 {
            let (_, _, key) = model.remove(random.below(model.len()));
            bench.queue.cancel(key);
            bench.queue.cancel(key);
        } else {
            let deadline = i64::try_from(random.below(300)).unwrap();
            model.push((deadline, name, bench.add(deadline, name).0));
        }
        assert_eq!(bench.queue.len(), model.len());
        let earliest = model.iter().map(|timer| timer.0).min();
        assert_eq!(bench.queue.next_deadline(Clock::Realtime), earliest);
    }
    model.sort_by_key(|&(deadline, name, _)| (deadline, name));

    for now in [50, 51, 200, 300] {
        let due = model.partition_point(|timer| timer.0 <= now);
        let expected: Vec<_> = model.drain(..due).map(|timer| timer.1).collect();
        assert_eq!(bench.fire(now), expected);
    }
    assert_eq!(bench.queue.len(), 0);
}

#[test]
fn a_key_never_names_the_next_timer_in_its_slot() {
    let bench = Bench::new();
    let (old, _) = bench.add(1, 1);
    bench.queue.cancel(old);
    let (new, _) = bench.add(1, 2);

    assert_eq!(old.slot, new.slot, "the slot was used again");
    assert!(!bench.queue.update(&old, &bench.waker(3)));
    bench.queue.cancel(old);
    assert_eq!(bench.fire(1), [2]);
    assert!(!bench.queue.update(&new, &bench.waker(3)), "it has fired");
}

#[test]
fn an_updated_timer_wakes_the_new_waker_and_keeps_its_place() {
    let bench = Bench::new();
    let (key, _) = bench.add(1, 1);
    bench.add(1, 2);

    assert!(bench.queue.update(&key, &bench.waker(9)));
    assert_eq!(bench.fire(1), [9, 2]);
}

#[test]
fn closing_wakes_everybody_and_later_timers_never_fire() {
    let bench = Bench::new();
    bench.add(1, 1);
    let (key, _) = bench.add(i64::MAX, 2);

    bench.queue.close();
    bench.woken.lock().unwrap().sort_unstable();
    assert_eq!(*bench.woken.lock().unwrap(), [1, 2]);
    assert!(!bench.queue.update(&key, Waker::noop()));

    bench.woken.lock().unwrap().clear();
    assert!(!bench.add(0, 3).1);
    assert!(bench.fire(i64::MAX).is_empty());
}

/// Adds a timer that is due at once whenever it is woken.
struct Echo(Arc<TimerQueue>, AtomicUsize);

impl Wake for Echo {
    fn wake(self: Arc<Self>) {
        // Relaxed: one thread.
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.insert(Clock::Host, 0, &Waker::from(Arc::clone(&self)));
    }
}

#[test]
fn a_waker_may_insert_timers_and_cannot_keep_fire_busy_for_ever() {
    let queue = Arc::new(TimerQueue::new());
    let echo = Arc::new(Echo(Arc::clone(&queue), AtomicUsize::new(0)));
    for _ in 0..2 * BATCH {
        queue.insert(Clock::Host, 0, &Waker::from(Arc::clone(&echo)));
    }

    assert_eq!(queue.fire(Clock::Host, 0), 2 * BATCH);
    assert_eq!(queue.len(), 2 * BATCH);
    queue.close();
}

#[test]
fn any_thread_may_cancel() {
    let bench = Bench::new();
    let keys: Vec<_> =
        (0..1_000).map(|name| bench.add(1, usize::try_from(name).unwrap()).0).collect();

    std::thread::scope(|scope| {
        for part in keys.chunks(250) {
            let queue = &bench.queue;
            scope.spawn(move || part.iter().for_each(|&key| queue.cancel(key)));
        }
    });

    assert_eq!(bench.queue.len(), 0);
    assert!(bench.fire(1).is_empty());
}

#[test]
fn the_loop_comes_back_once_for_a_crowd_and_exactly_for_a_few() {
    let bench = Bench::new();
    let next = |window| bench.queue.next_call(Clock::Realtime, &window);
    assert_eq!(next(0..50), None);
    for (name, deadline) in [10, 20, 30].into_iter().enumerate() {
        bench.add(deadline, name);
        assert_eq!(next(0..50), Some(10), "{} timers are few", name + 1);
    }
    bench.add(60, 3);
    assert_eq!(next(0..50), Some(10), "the fourth is after the window");
    bench.add(40, 4);
    assert_eq!(next(0..50), Some(50));
    assert_eq!(next(0..40), Some(10), "a deadline at the end is not in the window");
    assert_eq!(next(0..0), Some(10), "an empty window makes nobody late");
    assert_eq!(next(11..61), Some(10), "what is overdue does not wait for others");
}

#[test]
fn a_crowd_waits_no_longer_than_to_the_end_of_the_window() {
    let mut random = Random(5);
    for _ in 0..200 {
        let bench = Bench::new();
        for name in 0..1 + random.below(100) {
            bench.add(random.below(1_000) as i64, name);
        }
        let earliest = bench.queue.next_deadline(Clock::Realtime).unwrap();
        for start in (0..1_000).step_by(50) {
            let next = bench.queue.next_call(Clock::Realtime, &(start..start + 50)).unwrap();
            assert!((earliest..earliest + 50).contains(&next) || next == start + 50);
            assert!(next - earliest <= 50, "{next} for {earliest}");
        }
    }
}
