//! Tests of the cells' memory, with tasks that are ended by hand.

use std::future::{Future, pending};
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::thread;

use super::KEEP;
use crate::arena;
use crate::home::{Doorbell, Home};
use crate::task::{JoinError, JoinHandle, Polled, Running, TaskLabel, spawn};

/// Cells of a future without a size in a chunk.
const IN_A_CHUNK: usize = 240;

struct Silent;

impl Doorbell for Silent {
    fn ring(&self) {}
}

/// An executor without a loop. Closed when it is dropped.
struct Fixture {
    home: Arc<Home>,
    next_id: u64,
}

impl Fixture {
    fn new() -> Fixture {
        Fixture { home: Home::new(Box::new(Silent)), next_id: 1 }
    }

    fn spawn<F: Future + 'static>(&mut self, future: F) -> JoinHandle<F::Output> {
        let label = TaskLabel { id: self.next_id, name: None, spawned_at: Location::caller() };
        self.next_id += 1;
        spawn(&self.home, label, future)
    }

    /// Polls the task that waits longest, and ends it.
    fn end_first(&self) {
        let (running, _cancelled) = Running::next(&self.home).expect("there is one");
        assert!(matches!(running.poll(), Polled::Pending));
        running.drop_future().expect("it does not panic");
        running.fail(JoinError::cancelled());
        let task = self.home.table().remove(running.place());
        running.finish(task);
    }

    fn end_all(&self) {
        while !self.home.queue().is_empty() {
            self.end_first();
        }
    }

    /// A task that has ended and of which this waker is left.
    fn ended(&mut self) -> Waker {
        let desk = Arc::new(std::sync::Mutex::new(None));
        let inside = Arc::clone(&desk);
        let handle = self.spawn(std::future::poll_fn(move |cx| {
            *inside.lock().unwrap() = Some(cx.waker().clone());
            std::task::Poll::<()>::Pending
        }));
        self.end_all();
        drop(handle);
        let waker = desk.lock().unwrap().take();
        waker.expect("it was polled")
    }

    fn chunks(&self) -> usize {
        self.home.arena().census().0
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.end_all();
        arena::close(&self.home);
    }
}

fn elsewhere(work: impl FnOnce() + Send + 'static) {
    thread::spawn(work).join().unwrap();
}

fn assert_gone(home: &Weak<Home>) {
    assert_eq!(home.strong_count(), 0, "nothing is left that needs the home");
}

#[test]
fn a_cell_that_is_freed_at_home_is_the_next_one_to_be_used() {
    let mut fixture = Fixture::new();
    let cell = |fixture: &Fixture| fixture.home.table().tasks(None)[0].as_header();
    drop(fixture.spawn(pending::<()>()));
    let first = cell(&fixture);
    fixture.end_first();
    drop(fixture.spawn(pending::<()>()));
    assert_eq!(first, cell(&fixture));
    assert_eq!(fixture.chunks(), 1);
}

#[test]
fn cells_that_are_freed_on_another_thread_are_used_again() {
    let (times, at_a_time) = if cfg!(miri) { (2, 20) } else { (20, 200) };
    let mut fixture = Fixture::new();
    for _ in 0..times {
        let wakers: Vec<_> = (0..at_a_time).map(|_| fixture.ended()).collect();
        elsewhere(move || drop(wakers));
    }
    assert_eq!(fixture.chunks(), 1);
}

#[test]
#[cfg_attr(miri, ignore = "hundreds of thousands of tasks")]
fn the_memory_of_a_burst_is_given_back_but_for_a_bound() {
    let mut fixture = Fixture::new();
    let count = (KEEP + 100) * IN_A_CHUNK * 2;
    (0..count).for_each(|_| fixture.spawn(pending::<()>()).detach());
    let burst = fixture.chunks();
    assert!(burst > KEEP + 100, "{burst}");
    fixture.end_all();
    assert_eq!(fixture.home.arena().census(), (KEEP, KEEP));
    (0..IN_A_CHUNK).for_each(|_| fixture.spawn(pending::<()>()).detach());
    assert_eq!(fixture.chunks(), KEEP, "what was kept is used");
}

#[test]
#[cfg_attr(miri, ignore = "hundreds of thousands of tasks")]
fn a_chunk_that_could_not_be_given_back_while_somebody_read_goes_later() {
    let mut fixture = Fixture::new();
    let count = (KEEP + 10) * IN_A_CHUNK * 2;
    (0..count).for_each(|_| fixture.spawn(pending::<()>()).detach());
    let burst = fixture.chunks();
    {
        let home = Arc::clone(&fixture.home);
        let _reading = home.arena().readers.lock().unwrap();
        fixture.end_all();
        assert_eq!(fixture.chunks(), burst, "home does not wait for a reader");
    }
    fixture.spawn(pending::<()>()).detach();
    fixture.end_all();
    assert_eq!(fixture.chunks(), KEEP);
}

#[test]
fn an_executor_that_ended_with_all_its_tasks_leaves_nothing() {
    let mut fixture = Fixture::new();
    (0..10).for_each(|_| fixture.spawn(pending::<()>()).detach());
    let home = Arc::downgrade(&fixture.home);
    drop(fixture);
    assert_gone(&home);
}

#[test]
fn an_executor_without_tasks_leaves_nothing() {
    let home = Arc::downgrade(&Fixture::new().home);
    assert_gone(&home);
}

#[test]
fn a_waker_that_outlives_its_executor_frees_the_rest_on_its_own_thread() {
    let mut fixture = Fixture::new();
    let (first, second) = (fixture.ended(), fixture.ended());
    let home = Arc::downgrade(&fixture.home);
    drop(fixture);
    drop(first);
    assert_eq!(home.strong_count(), 1, "the other waker's cell is in use");
    elsewhere(move || {
        second.wake_by_ref();
        drop(second);
    });
    assert_gone(&home);
}

#[test]
fn what_was_freed_elsewhere_and_never_collected_is_not_waited_for() {
    let mut fixture = Fixture::new();
    let waker = fixture.ended();
    elsewhere(move || drop(waker));
    let home = Arc::downgrade(&fixture.home);
    drop(fixture);
    assert_gone(&home);
}

#[test]
fn a_handle_that_outlives_its_executor_frees_the_rest() {
    let mut fixture = Fixture::new();
    let handle = fixture.spawn(pending::<()>());
    let home = Arc::downgrade(&fixture.home);
    drop(fixture);
    assert_eq!(home.strong_count(), 1);
    drop(handle);
    assert_gone(&home);
}

#[test]
fn tasks_of_an_executor_that_has_ended_take_each_others_cells() {
    let mut fixture = Fixture::new();
    arena::close(&fixture.home);
    let times = if cfg!(miri) { 5 } else { 3 * IN_A_CHUNK };
    (0..times).for_each(|_| drop(fixture.ended()));
    assert_eq!(fixture.chunks(), 1);
    let (waker, home) = (fixture.ended(), Arc::downgrade(&fixture.home));
    drop(fixture);
    assert_eq!(home.strong_count(), 1);
    elsewhere(move || drop(waker));
    assert_gone(&home);
}

#[test]
fn a_reader_on_another_thread_sees_tasks_come_and_go_with_their_chunks() {
    const ROUNDS: usize = if cfg!(miri) { 2 } else { 4 };
    let burst = if cfg!(miri) { 20 } else { (KEEP + 20) * IN_A_CHUNK };
    let mut fixture = Fixture::new();
    let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let reader = {
        let (home, stop, seen) = (Arc::clone(&fixture.home), Arc::clone(&stop), Arc::clone(&seen));
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                for row in home.table().rows() {
                    assert_eq!(row.label.spawned_at.file(), file!());
                    assert!(row.polls <= 1, "polled {} times", row.polls);
                    seen.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
    };
    let mut round = 0;
    while round < ROUNDS || seen.load(Ordering::Relaxed) == 0 {
        (0..burst).for_each(|_| fixture.spawn(pending::<()>()).detach());
        fixture.end_all();
        round += 1;
    }
    stop.store(true, Ordering::Relaxed);
    reader.join().expect("the reader found no fault");
}
