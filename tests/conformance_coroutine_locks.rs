//! Conformance of the event loop: locks and queues of coroutines.
//!
//! Whose turn it is, whom an unlock wakes, and what ends the process.

#[path = "common/aio.rs"]
mod aio;
#[path = "common/coroutine.rs"]
mod coroutine;
#[path = "common/process.rs"]
mod process;

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;

use aio::{Io, Trace};
use coroutine::{Co, Lock, RwLock, WaitQueue, co_yield, move_to};
use process::aborts;

#[test]
fn a_mutex_is_handed_to_the_coroutine_that_has_waited_longest() {
    let (lock, trace) = (Lock::new(), Trace::default());
    let (lock, trace) = (&lock, &trace);
    let holder = |name: &'static str| {
        Co::new(move || {
            lock.lock();
            trace.log(name);
            co_yield();
            lock.unlock();
            trace.log(format!("{name} ends"));
        })
    };
    let all = ["a", "b", "c"].map(holder);
    all.iter().for_each(|co| co.enter());
    assert_eq!(trace.take(), ["a"]);

    all[0].enter();
    assert_eq!(trace.take(), ["a ends", "b"]);
    all[1].enter();
    assert_eq!(trace.take(), ["b ends", "c"]);
    all[2].enter();
    assert_eq!(trace.take(), ["c ends"]);
}

#[test]
fn nobody_overtakes_those_that_wait_for_a_mutex() {
    let (lock, trace) = (Lock::new(), Trace::default());
    let (lock, trace) = (&lock, &trace);
    let greedy = Co::new(move || {
        lock.lock();
        co_yield();
        lock.unlock();
        lock.lock();
        trace.log("greedy again");
        lock.unlock();
    });
    let patient = Co::new(move || {
        lock.lock();
        trace.log("patient");
        lock.unlock();
    });
    greedy.enter();
    patient.enter();
    greedy.enter();
    assert_eq!(trace.take(), ["patient", "greedy again"]);
}

#[test]
fn a_mutex_keeps_the_coroutines_of_several_threads_apart() {
    const ROUNDS: u32 = 5_000;
    struct Racy(Cell<u32>);
    // SAFETY: the lock protects it, which is what the test is about.
    unsafe impl Sync for Racy {}

    let threads = ["lock 0", "lock 1", "lock 2"].map(Io::new);
    let lock = Lock::new();
    let (racy, atomic) = (Racy(Cell::new(0)), AtomicU32::new(0));
    let (racy, atomic, lock) = (&racy, &atomic, &lock);
    let (sender, receiver) = mpsc::channel::<()>();
    for io in &threads {
        let sender = sender.clone();
        let co = Co::new(move || {
            for _ in 0..ROUNDS {
                lock.lock();
                racy.0.set(racy.0.get() + 1);
                lock.unlock();
                atomic.fetch_add(1, Ordering::Relaxed);
            }
            drop(sender);
        });
        co.schedule(io.context());
    }
    drop(sender);
    assert!(receiver.recv().is_err(), "all have ended");
    assert_eq!(racy.0.get(), 3 * ROUNDS);
    assert_eq!(atomic.load(Ordering::Relaxed), 3 * ROUNDS);
}

#[test]
fn a_mutex_may_be_held_across_a_move_to_another_thread() {
    let threads = ["carry 0", "carry 1"].map(Io::new);
    let lock = Lock::new();
    let lock = &lock;
    let (sender, receiver) = mpsc::channel();
    let contexts = threads.each_ref().map(Io::context);
    let co = Co::new(move || {
        lock.lock();
        move_to(contexts[1]);
        lock.unlock();
        sender.send(()).expect("the test waits");
    });
    co.schedule(contexts[0]);
    receiver.recv().expect("it ends");
}

#[test]
fn a_queue_wakes_the_coroutine_that_has_waited_longest_and_the_lock_is_free_meanwhile() {
    let (lock, queue, trace) = (Lock::new(), WaitQueue::new(), Trace::default());
    let (lock, queue, trace) = (&lock, &queue, &trace);
    let waiter = |name: &'static str, in_front: bool| {
        Co::new(move || {
            lock.lock();
            if in_front {
                queue.wait_in_front(lock);
            } else {
                queue.wait(lock);
            }
            trace.log(name);
            lock.unlock();
        })
        .enter();
    };
    assert!(queue.is_empty());
    waiter("a", false);
    waiter("b", false);
    waiter("urgent", true);
    assert!(!queue.is_empty());

    assert!(queue.enter_next(), "outside coroutines it runs at once");
    assert_eq!(trace.take(), ["urgent"]);
    Co::new(move || {
        assert!(queue.next());
        trace.log("next returned");
    })
    .enter();
    assert_eq!(trace.take(), ["next returned", "a"]);
    waiter("c", false);
    Co::new(|| queue.restart_all()).enter();
    assert_eq!(trace.take(), ["b", "c"]);
    assert!(queue.is_empty() && !queue.enter_next());
}

/// A coroutine that logs when it has the lock, and yields before it gives it back.
fn user<'a>(lock: &'a RwLock, trace: &'a Trace, name: &'static str, writes: bool) -> Co {
    Co::new(move || {
        if writes {
            lock.write();
        } else {
            lock.read();
        }
        trace.log(name);
        co_yield();
        lock.unlock();
    })
}

#[test]
fn readers_share_a_lock_until_a_writer_is_in_line() {
    let (lock, trace) = (RwLock::new(), Trace::default());
    let [a, b, c] = ["a", "b", "c"].map(|name| user(&lock, &trace, name, false));
    let writer = user(&lock, &trace, "writer", true);

    a.enter();
    b.enter();
    assert_eq!(trace.take(), ["a", "b"]);
    writer.enter();
    c.enter();
    assert!(trace.take().is_empty(), "both wait");
    a.enter();
    assert!(trace.take().is_empty(), "a reader is left");
    b.enter();
    assert_eq!(trace.take(), ["writer"]);
    writer.enter();
    assert_eq!(trace.take(), ["c"]);
    c.enter();
}

#[test]
fn the_readers_in_line_are_let_in_together() {
    let (lock, trace) = (RwLock::new(), Trace::default());
    let writer = user(&lock, &trace, "writer", true);
    let readers = ["a", "b"].map(|name| user(&lock, &trace, name, false));
    let last = user(&lock, &trace, "last writer", true);

    writer.enter();
    readers.iter().for_each(|co| co.enter());
    last.enter();
    assert_eq!(trace.take(), ["writer"]);
    writer.enter();
    // The first wakes the second and goes on; the second runs when the first yields.
    assert_eq!(trace.take(), ["a", "b"]);
    readers.iter().for_each(|co| co.enter());
    assert_eq!(trace.take(), ["last writer"]);
    last.enter();
}

#[test]
fn a_reader_that_upgrades_waits_behind_a_writer_in_line() {
    let (lock, trace) = (RwLock::new(), Trace::default());
    let (lock, trace) = (&lock, &trace);
    let upgrader = Co::new(move || {
        lock.read();
        co_yield();
        lock.upgrade();
        trace.log("upgraded");
        lock.unlock();
    });
    let writer = user(lock, trace, "writer", true);

    upgrader.enter();
    writer.enter();
    assert!(trace.take().is_empty());
    upgrader.enter();
    assert_eq!(trace.take(), ["writer"]);
    writer.enter();
    assert_eq!(trace.take(), ["upgraded"]);
}

#[test]
fn the_only_reader_upgrades_at_once_if_nobody_waits() {
    let (lock, trace) = (RwLock::new(), Trace::default());
    let (lock, trace) = (&lock, &trace);
    Co::new(move || {
        lock.read();
        lock.upgrade();
        trace.log("upgraded");
        lock.unlock();
    })
    .enter();
    assert_eq!(trace.take(), ["upgraded"]);
}

#[test]
fn a_writer_that_downgrades_lets_the_reader_in_line_in() {
    let (lock, trace) = (RwLock::new(), Trace::default());
    let (lock, trace) = (&lock, &trace);
    let writer = Co::new(move || {
        lock.write();
        co_yield();
        lock.downgrade();
        trace.log("downgraded");
        co_yield();
        lock.unlock();
    });
    let reader = user(lock, trace, "reader", false);
    let next = user(lock, trace, "next writer", true);

    writer.enter();
    reader.enter();
    next.enter();
    writer.enter();
    assert_eq!(trace.take(), ["downgraded", "reader"]);
    reader.enter();
    assert!(trace.take().is_empty(), "one reader is left");
    writer.enter();
    assert_eq!(trace.take(), ["next writer"]);
    next.enter();
}

#[test]
fn to_unlock_a_mutex_of_another_coroutine_aborts() {
    let name = "to_unlock_a_mutex_of_another_coroutine_aborts";
    aborts(name, "the coroutine does not hold the CoMutex", || {
        let lock = Lock::new();
        let lock = &lock;
        Co::new(move || {
            lock.lock();
            co_yield();
        })
        .enter();
        Co::new(move || lock.unlock()).enter();
    });
}

#[test]
fn to_unlock_a_mutex_outside_coroutines_aborts() {
    let name = "to_unlock_a_mutex_outside_coroutines_aborts";
    aborts(name, "qemu_co_mutex_unlock must be called in a coroutine", || Lock::new().unlock());
}

#[test]
fn a_coroutine_that_ends_with_a_lock_aborts() {
    let name = "a_coroutine_that_ends_with_a_lock_aborts";
    aborts(name, "a coroutine ended while it held 1 lock(s)", || {
        let lock = Lock::new();
        let lock = &lock;
        Co::new(move || lock.lock()).enter();
    });
}

#[test]
fn to_unlock_a_lock_that_nobody_has_aborts() {
    let name = "to_unlock_a_lock_that_nobody_has_aborts";
    aborts(name, "nobody has the CoRwlock", || {
        let lock = RwLock::new();
        let lock = &lock;
        Co::new(move || lock.unlock()).enter();
    });
}

#[test]
fn to_upgrade_without_reading_aborts() {
    let name = "to_upgrade_without_reading_aborts";
    aborts(name, "the CoRwlock is not held for reading", || {
        let lock = RwLock::new();
        let lock = &lock;
        Co::new(move || lock.upgrade()).enter();
    });
}

#[test]
fn to_downgrade_without_writing_aborts() {
    let name = "to_downgrade_without_writing_aborts";
    aborts(name, "the CoRwlock is not held for writing", || {
        let lock = RwLock::new();
        let lock = &lock;
        Co::new(move || lock.downgrade()).enter();
    });
}
