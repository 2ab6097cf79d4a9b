//! Tests of the inbox with jobs, which need no task.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use super::{Inbox, Job, Pushed};

type Log = Arc<Mutex<Vec<usize>>>;

fn job(log: &Log, number: usize) -> Job {
    let log = Arc::clone(log);
    Job::new(move || log.lock().unwrap().push(number))
}

fn push(inbox: &Inbox, job: Job) -> Pushed {
    job.push_to(inbox).map_err(drop).expect("the inbox is open")
}

#[test]
fn requests_are_served_in_the_order_of_their_arrival() {
    let (inbox, log) = (Inbox::new(), Log::default());
    for number in 0..5 {
        let _pushed = push(&inbox, job(&log, number));
    }
    assert_eq!(inbox.take().serve(), 5);
    assert_eq!(*log.lock().unwrap(), [0, 1, 2, 3, 4]);
    assert!(inbox.is_empty());
    assert_eq!(inbox.take().serve(), 0);
}

#[test]
fn the_first_push_into_an_empty_inbox_must_ring() {
    let (inbox, log) = (Inbox::new(), Log::default());
    assert_eq!(push(&inbox, job(&log, 0)), Pushed::First);
    assert_eq!(push(&inbox, job(&log, 1)), Pushed::More);
    inbox.take().serve();
    assert_eq!(push(&inbox, job(&log, 2)), Pushed::First);
    drop(inbox.close());
}

#[test]
fn what_is_pushed_while_others_are_served_is_left_for_the_next_time() {
    let (inbox, log) = (Arc::new(Inbox::new()), Log::default());
    let (again, its_log) = (Arc::clone(&inbox), Arc::clone(&log));
    let pushing = Job::new(move || {
        assert_eq!(push(&again, job(&its_log, 1)), Pushed::First);
    });
    let _pushed = push(&inbox, pushing);
    assert_eq!(inbox.take().serve(), 1);
    assert_eq!(inbox.take().serve(), 1);
    assert_eq!(*log.lock().unwrap(), [1]);
}

#[test]
fn a_closed_inbox_discards_what_it_has_and_gives_back_what_comes() {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let (inbox, drops) = (Inbox::new(), Arc::new(AtomicUsize::new(0)));
    let counted = || {
        let counted = Counted(Arc::clone(&drops));
        Job::new(move || panic!("{} must not be served", counted.0.load(Ordering::SeqCst)))
    };
    let _pushed = push(&inbox, counted());

    drop(inbox.close());
    assert_eq!(drops.load(Ordering::SeqCst), 1);
    assert!(counted().push_to(&inbox).is_err());
    assert_eq!(drops.load(Ordering::SeqCst), 2);

    assert_eq!(inbox.take().serve(), 0);
    drop(inbox.close());
}

#[test]
fn what_is_taken_and_not_served_is_discarded() {
    let (inbox, log) = (Inbox::new(), Log::default());
    let _pushed = push(&inbox, job(&log, 0));
    drop(inbox.take());
    assert!(log.lock().unwrap().is_empty());
    assert_eq!(Arc::strong_count(&log), 1);
}

#[test]
fn a_job_that_panics_is_served_and_the_next_one_too() {
    let (inbox, log) = (Inbox::new(), Log::default());
    let _pushed = push(&inbox, Job::new(|| panic!("as planned")));
    let _pushed = push(&inbox, job(&log, 1));
    assert_eq!(inbox.take().serve(), 2);
    assert_eq!(*log.lock().unwrap(), [1]);
}

#[test]
fn many_pushers_ring_once_per_batch_and_lose_nothing() {
    const EACH: usize = if cfg!(miri) { 20 } else { 1_000 };
    let (inbox, served) = (Arc::new(Inbox::new()), Arc::new(AtomicUsize::new(0)));
    let rings = Arc::new(AtomicUsize::new(0));
    let pushers: Vec<_> = (0..3)
        .map(|_| {
            let (inbox, served) = (Arc::clone(&inbox), Arc::clone(&served));
            let rings = Arc::clone(&rings);
            thread::spawn(move || {
                for _ in 0..EACH {
                    let served = Arc::clone(&served);
                    let job = Job::new(move || {
                        served.fetch_add(1, Ordering::SeqCst);
                    });
                    if push(&inbox, job) == Pushed::First {
                        rings.fetch_add(1, Ordering::SeqCst);
                    }
                }
            })
        })
        .collect();
    let mut batches = 0;
    while served.load(Ordering::SeqCst) < 3 * EACH {
        batches += usize::from(inbox.take().serve() > 0);
    }
    pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
    assert_eq!(rings.load(Ordering::SeqCst), batches);
}
