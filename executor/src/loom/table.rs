//! The task table: a reader elsewhere while home gives a place to one task after another.

use std::future::poll_fn;
use std::panic::Location;
use std::sync::Arc;
use std::task::Poll;

use loom::thread;

use super::{Loop, model};
use crate::task_table::Row;

/// The line that spawned the task of an id, so that a reader can tell what belongs together.
static LINES: std::sync::Mutex<[Option<&'static Location<'static>>; 3]> =
    std::sync::Mutex::new([None; 3]);

#[track_caller]
fn note(id: usize) {
    LINES.lock().expect("no panics")[id - 1] = Some(Location::caller());
}

fn assert_whole(row: &Row) {
    let id = usize::try_from(row.label.id).expect("ids are small");
    let line = LINES.lock().expect("no panics")[id - 1];
    assert_eq!(line.map(Location::line), Some(row.label.spawned_at.line()), "task {id}");
    // The first task is never polled, the others once.
    assert!(row.polls <= u32::from(id > 1), "task {id} was polled {} times", row.polls);
}

/// Catches an `enter` without its fence, one that stores the id first or relaxed, and a `read` that looks at the id
/// once or without its fence.
#[test]
fn a_row_is_read_whole_or_not_at_all() {
    model(|| {
        let home = Loop::new();
        let there = Arc::clone(&home.home);
        #[rustfmt::skip]
        let first = { note(1); home.spawn(poll_fn(|_| Poll::<()>::Pending)) };
        let reader = thread::spawn(move || there.table().rows().iter().for_each(assert_whole));
        first.abort();
        home.run();
        // Its cell is the next one's, if the reader keeps the chunk.
        drop(first);
        #[rustfmt::skip]
        let second = { note(2); home.spawn(poll_fn(|_| Poll::<()>::Pending)) };
        home.run();
        reader.join().expect("reads");
        drop(second);
        home.close();
    });
}
