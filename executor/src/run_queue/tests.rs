//! Tests of the order of the queue, with tasks that are never polled.

use std::future::ready;
use std::panic::Location;
use std::ptr::NonNull;
use std::sync::Arc;

use super::RunQueue;
use crate::arena;
use crate::home::{Doorbell, Home};
use crate::task::{Header, Polled, Running, TaskLabel, TaskRef, spawn};

struct Silent;

impl Doorbell for Silent {
    fn ring(&self) {}
}

/// Tasks that are run to their end when this is dropped.
struct Tasks {
    home: Arc<Home>,
    tasks: Vec<TaskRef>,
}

fn tasks(count: u64) -> Tasks {
    let home: Arc<Home> = Home::new(Box::new(Silent));
    for id in 1..=count {
        let label = TaskLabel { id, name: None, spawned_at: Location::caller() };
        spawn(&home, label, ready(())).detach();
    }
    while home.queue().pop().is_some() {}
    let tasks = home.table().tasks(None);
    Tasks { home, tasks }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in self.tasks.drain(..) {
            push(self.home.queue(), &task);
            let (running, _cancelled) = Running::next(&self.home).expect("just pushed");
            assert!(matches!(running.poll(), Polled::Ready));
            running.succeed();
            assert!(matches!(running.discard_result(), Ok(None)));
            drop(task);
            let task = self.home.table().remove(running.place());
            running.finish(task);
        }
        arena::close(&self.home);
    }
}

fn push(queue: &RunQueue, task: &TaskRef) {
    // SAFETY: the tests push a task only while it is in no queue, and never complete it.
    unsafe { queue.push(task.as_header()) };
}

fn pop(queue: &RunQueue, tasks: &Tasks) -> Option<usize> {
    let header: NonNull<Header> = queue.pop()?;
    tasks.tasks.iter().position(|task| task.as_header() == header)
}

#[test]
fn tasks_come_out_in_the_order_in_which_they_went_in() {
    let (queue, tasks) = (RunQueue::new(), tasks(4));
    assert!(queue.is_empty());
    tasks.tasks.iter().for_each(|task| push(&queue, task));
    assert!(!queue.is_empty());
    let order: Vec<_> = std::iter::from_fn(|| pop(&queue, &tasks)).collect();
    assert_eq!(order, [0, 1, 2, 3]);
    assert!(queue.is_empty());
}

#[test]
fn a_task_that_is_pushed_again_goes_behind_the_others() {
    let (queue, tasks) = (RunQueue::new(), tasks(3));
    push(&queue, &tasks.tasks[0]);
    push(&queue, &tasks.tasks[1]);
    assert_eq!(pop(&queue, &tasks), Some(0));
    push(&queue, &tasks.tasks[0]);
    push(&queue, &tasks.tasks[2]);
    let order: Vec<_> = std::iter::from_fn(|| pop(&queue, &tasks)).collect();
    assert_eq!(order, [1, 0, 2]);
}

#[test]
fn a_queue_that_ran_empty_can_be_filled_again() {
    let (queue, tasks) = (RunQueue::new(), tasks(1));
    for _ in 0..3 {
        push(&queue, &tasks.tasks[0]);
        assert_eq!(pop(&queue, &tasks), Some(0));
        assert_eq!(pop(&queue, &tasks), None);
    }
}
