//! Tests of the table with tasks that are never polled, and of readers beside the writer.

use std::future::pending;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::{Place, TaskTable};
use crate::arena;
use crate::home::{Doorbell, Home};
use crate::task::{JoinHandle, Running, TaskLabel, spawn};

struct Silent;

impl Doorbell for Silent {
    fn ring(&self) {}
}

/// The home of some tasks.
struct Fixture {
    home: Arc<Home>,
    next_id: u64,
}

type Handle = JoinHandle<()>;

impl Fixture {
    fn new() -> Fixture {
        Fixture { home: Home::new(Box::new(Silent)), next_id: 1 }
    }

    fn enter(&mut self, name: Option<&str>) -> (u64, Place, Handle) {
        let id = self.next_id;
        self.next_id += 1;
        let label = TaskLabel { id, name: name.map(Arc::from), spawned_at: Location::caller() };
        let handle = spawn(&self.home, label, pending::<()>());
        let task = self.table().tasks(Some(id)).pop().expect("it is listed");
        (id, Place::of(task.as_header()), handle)
    }

    fn table(&self) -> &TaskTable {
        self.home.table()
    }

    /// Ends the task that was entered first, as an executor does that cancels it.
    fn end_first(&self) {
        let (running, _cancelled) = Running::next(&self.home).expect("there is one");
        running.drop_future().expect("it does not panic");
        running.fail(crate::task::JoinError::cancelled());
        let task = self.table().remove(running.place());
        running.finish(task);
    }

    fn ids(&self) -> Vec<u64> {
        self.table().rows().iter().map(|row| row.label.id).collect()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        while !self.home.queue().is_empty() {
            self.end_first();
        }
        arena::close(&self.home);
    }
}

#[test]
fn tasks_are_listed_until_they_are_removed() {
    let mut fixture = Fixture::new();
    let (first, place, _handle) = fixture.enter(Some("one"));
    let (second, _, _handle) = fixture.enter(None);
    assert_eq!(fixture.ids(), [first, second]);
    let label = fixture.table().label(place).expect("it is there");
    assert_eq!((label.id, label.name.as_deref()), (first, Some("one")));
    assert!(fixture.table().has(second));

    fixture.end_first();

    assert_eq!(fixture.ids(), [second]);
    assert!(!fixture.table().has(first));
    assert!(fixture.table().names().is_empty(), "the name went with the task");
}

#[test]
fn tasks_are_listed_in_the_order_of_their_ids() {
    let mut fixture = Fixture::new();
    let handles: Vec<_> = (0..5).map(|_| fixture.enter(None).2).collect();
    fixture.end_first();
    fixture.end_first();
    let _more = (fixture.enter(None), fixture.enter(None));
    assert_eq!(fixture.ids(), [3, 4, 5, 6, 7], "two have the cells of the first ones");
    drop(handles);
}

#[test]
fn ids_of_more_than_32_bits_are_told_whole() {
    const MANY: u64 = 1 << 32;
    let mut fixture = Fixture::new();
    let mut handles = Vec::new();
    for id in [MANY - 1, MANY + 1, MANY + 2, 7, 3 * MANY + 7] {
        fixture.next_id = id;
        handles.push(fixture.enter(Some("named")).2);
        assert!(fixture.table().has(id));
    }
    assert_eq!(fixture.ids(), [7, MANY - 1, MANY + 1, MANY + 2, 3 * MANY + 7]);
    assert!(!fixture.table().has(MANY + 7), "neither half alone is the id");
    assert!(!fixture.table().has(0), "a free cell is nobody's");
    assert_eq!(fixture.table().tasks(Some(MANY + 2)).len(), 1);
    (0..5).for_each(|_| fixture.end_first());
    assert!(fixture.ids().is_empty());
    assert!(fixture.table().names().is_empty(), "each name went with its own task");
}

#[test]
fn chunks_of_other_ids_are_used_again_when_their_tasks_are_gone() {
    let rounds = if cfg!(miri) { 4 } else { 100 };
    let mut fixture = Fixture::new();
    for high in 0..rounds {
        fixture.next_id = (high << 32) + 1_u64;
        let _handles = (fixture.enter(None), fixture.enter(None));
        fixture.end_first();
        fixture.end_first();
    }
    let (chunks, _) = fixture.table().arena().census();
    assert!(chunks <= 2, "{chunks}");
}

#[test]
fn polls_are_counted_from_zero_at_each_place() {
    let mut fixture = Fixture::new();
    for polls in [3, 1] {
        let (_, place, _handle) = fixture.enter(None);
        (0..polls).for_each(|_| fixture.table().count_poll(place));
        assert_eq!(fixture.table().rows()[0].polls, polls);
        fixture.end_first();
    }
}

#[test]
fn the_references_on_all_tasks_or_on_one() {
    let mut fixture = Fixture::new();
    let (first, _, _handle) = fixture.enter(None);
    let (_, _, _handle) = fixture.enter(None);
    assert_eq!(fixture.table().tasks(None).len(), 2);
    assert_eq!(fixture.table().tasks(Some(first)).len(), 1);
    assert_eq!(fixture.table().tasks(Some(999)).len(), 0);
}

#[test]
fn a_reader_on_another_thread_never_sees_one_tasks_name_with_anothers_id() {
    const ROUNDS: usize = if cfg!(miri) { 100 } else { 20_000 };
    let mut fixture = Fixture::new();
    let stop = Arc::new(AtomicBool::new(false));
    let reader = {
        let (home, stop) = (Arc::clone(&fixture.home), Arc::clone(&stop));
        thread::spawn(move || {
            let mut seen = 0;
            while !stop.load(Ordering::Relaxed) || seen == 0 {
                for row in home.table().rows() {
                    // Odd ids have names; the name can be gone when the reader asks for it.
                    let name = row.label.name.as_deref();
                    assert!(name.is_none_or(|name| name == row.label.id.to_string()));
                    assert!(row.label.id % 2 == 1 || name.is_none());
                    seen += 1;
                }
            }
            seen
        })
    };
    let mut handles = std::collections::VecDeque::new();
    let mut rounds = 0;
    while rounds < ROUNDS || !reader.is_finished() {
        let name = (fixture.next_id % 2 == 1).then(|| fixture.next_id.to_string());
        handles.push_back(fixture.enter(name.as_deref()).2);
        if handles.len() > 3 {
            fixture.end_first();
            handles.pop_front();
        }
        rounds += 1;
        if rounds == ROUNDS {
            stop.store(true, Ordering::Relaxed);
        }
    }
    assert!(reader.join().expect("the reader found no fault") > 0);
}
