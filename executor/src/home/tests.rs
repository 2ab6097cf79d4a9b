//! Tests of the bell's edge.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::{Doorbell, Home};
use crate::inbox::Job;

#[derive(Clone, Default)]
struct Counting(Arc<AtomicUsize>);

impl Doorbell for Counting {
    fn ring(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn home() -> (Arc<Home>, Counting) {
    let bell = Counting::default();
    (Home::new(Box::new(bell.clone())), bell)
}

#[test]
fn only_its_own_thread_is_home() {
    let (home, _bell) = home();
    assert!(home.is_home());
    assert!(!thread::spawn(move || home.is_home()).join().unwrap());
}

#[test]
fn an_idle_home_rings_once_and_a_busy_one_not_at_all() {
    let (home, bell) = home();
    home.ring_if_idle();
    home.ring_if_idle();
    assert_eq!(bell.0.load(Ordering::SeqCst), 1, "it has been rung for");
    assert!(!home.set_idle(false));
    home.ring_if_idle();
    assert_eq!(bell.0.load(Ordering::SeqCst), 1);
    home.set_idle(true);
    home.ring_if_idle();
    assert_eq!(bell.0.load(Ordering::SeqCst), 2);
}

#[test]
fn a_send_rings_for_the_first_job_of_a_batch() {
    let (home, bell) = home();
    assert!(home.send(Job::new(|| ())).is_ok());
    assert!(home.send(Job::new(|| ())).is_ok());
    assert_eq!(bell.0.load(Ordering::SeqCst), 1);
    drop(home.inbox().close());
    assert!(home.send(Job::new(|| ())).is_err());
    assert_eq!(bell.0.load(Ordering::SeqCst), 1);
}
