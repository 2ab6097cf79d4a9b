//! Cells that are freed on other threads, while home uses them again, gives chunks back, or ends.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Poll, Waker};

use loom::thread;

use super::{Loop, model};
use crate::home::Home;
use crate::task::JoinHandle;

impl Loop {
    /// A task that was polled once, and its waker.
    fn spawn_asleep(&self) -> (JoinHandle<()>, Waker) {
        let desk = Arc::new(Mutex::new(None));
        let inside = Arc::clone(&desk);
        let handle = self.spawn(poll_fn(move |cx| {
            *inside.lock().expect("no panics") = Some(cx.waker().clone());
            Poll::Pending
        }));
        self.run();
        let waker = desk.lock().expect("no panics").take().expect("it was polled");
        (handle, waker)
    }

    /// Ends a task whose handle this is.
    fn end<T>(&self, handle: JoinHandle<T>) {
        handle.abort();
        self.run();
        drop(handle);
    }
}

/// Nobody may find the home alive, or dead too early: its memory is freed with it.
fn assert_gone(home: &Weak<Home>) {
    assert_eq!(home.strong_count(), 0, "the last cell lets go of the home");
}

/// Catches a `free_elsewhere` that does not release, and a `collect` that does not acquire.
#[test]
fn a_cell_that_was_freed_elsewhere_is_used_again() {
    model(|| {
        let home = Loop::new();
        let (first, waker) = home.spawn_asleep();
        home.end(first);
        let elsewhere = thread::spawn(move || drop(waker));
        let tasks = [home.spawn_asleep(), home.spawn_asleep()];
        assert_eq!(home.table().rows().len(), 2);
        elsewhere.join().expect("drops");
        for (handle, waker) in tasks {
            drop(waker);
            home.end(handle);
        }
        let there = Arc::downgrade(&home.home);
        home.close();
        assert_gone(&there);
    });
}

/// Catches a `close` that counts before it closes the stack, one that does not count what it finds there as freed, and
/// a last cell that does not let go.
#[test]
fn the_last_cell_after_the_end_lets_go_of_the_home() {
    model(|| {
        let home = Loop::new();
        let (first, one) = home.spawn_asleep();
        let (second, other) = home.spawn_asleep();
        let there = Arc::downgrade(&home.home);
        home.end(first);
        home.end(second);
        let elsewhere = [one, other].map(|waker| thread::spawn(move || drop(waker)));
        home.close();
        for thread in elsewhere {
            thread.join().expect("drops");
        }
        assert_gone(&there);
    });
}

/// Catches a task of a closed executor's that is not counted, or takes no reference when it is the only one.
#[test]
fn a_task_that_is_spawned_after_the_end_is_counted() {
    model(|| {
        let home = Loop::new();
        let (first, waker) = home.spawn_asleep();
        let (again, there) = (Arc::clone(&home.home), Arc::downgrade(&home.home));
        home.end(first);
        let elsewhere = thread::spawn(move || drop(waker));
        home.close();
        let home =
            Loop { home: again, bell: Arc::new(loom::sync::Notify::new()), next_id: 7.into() };
        let (second, waker) = home.spawn_asleep();
        home.end(second);
        drop(home);
        assert!(there.strong_count() > 0, "a cell is in use");
        drop(waker);
        elsewhere.join().expect("drops");
        assert_gone(&there);
    });
}

/// Catches a `give_back` that does not look whether somebody reads.
#[test]
fn a_chunk_is_not_given_back_under_a_readers_eyes() {
    model(|| {
        let home = Loop::new();
        let (first, waker) = home.spawn_asleep();
        drop(waker);
        let there = Arc::clone(&home.home);
        let reader = thread::spawn(move || assert!(there.table().rows().len() <= 1));
        home.end(first);
        let (second, waker) = home.spawn_asleep();
        drop(waker);
        home.end(second);
        reader.join().expect("reads");
        home.close();
    });
}
