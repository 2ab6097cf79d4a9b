//! Timers: making and dropping them, and how late they fire.
//!
//! `timer_create_100k` makes sleeps of one to eleven seconds, polled once each, until there are 100 000;
//! `timer_drop_100k` drops them again; `timer_cancel_1` does both with one at a time. The `over` rows
//! are how much later than asked a lone sleep ends.
//!
//! Against: tokio, whose timers have a grid of a millisecond. The floors are a `BTreeMap` of deadlines, and
//! `ppoll` with a timeout and without fds.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use nix::poll::ppoll;
use nix::sys::time::TimeSpec;

use crate::kit::yield_once;
use crate::peers::Reactor;
use crate::suite::{ReactorWorkload, Suite, median_of};

/// Timers at a time.
const MANY: u32 = 100_000;

pub(crate) fn add(suite: &mut Suite) {
    suite.row("timer_cancel_1", 1).reactors(CancelOne).floor(bare_cancel).measure();
    for (name, part) in [("timer_create_100k", Part::Create), ("timer_drop_100k", Part::Drop)] {
        suite
            .row(name, MANY)
            .reactors(CreateAndDrop { part })
            .floor(move |n| bare_create_and_drop(part, n))
            .measure();
    }
    for (name, micros) in [("sleep_1ms_over", 1_000), ("sleep_100us_over", 100)] {
        let asked = Duration::from_micros(micros);
        suite
            .row(name, 1)
            .reactors(Oversleep { asked })
            .floor(move |n| bare_oversleep(asked, n))
            .measure();
    }
}

/// Polls a sleep, which must not be over yet.
async fn start(mut sleep: Pin<&mut impl Future<Output = ()>>) {
    let polled = poll_fn(|cx| Poll::Ready(sleep.as_mut().poll(cx))).await;
    assert!(polled.is_pending(), "a long sleep does not end at once");
}

/// Makes a sleep and drops it.
#[derive(Clone, Copy)]
struct CancelOne;

impl ReactorWorkload for CancelOne {
    async fn run<R: Reactor>(self, _peer: R, n: u64) -> Duration {
        let begin = Instant::now();
        for turn in 0..n {
            start(pin!(R::sleep(Duration::from_secs(10)))).await;
            // Lets the executor have its turn now and then, as any program would.
            if turn % 64 == 63 {
                yield_once().await;
            }
        }
        begin.elapsed()
    }
}

fn bare_cancel(n: u64) -> Duration {
    let mut timers = BTreeMap::new();
    let begin = Instant::now();
    for turn in 0..n {
        let deadline = Instant::now() + Duration::from_secs(10);
        timers.insert((deadline, turn), Waker::noop().clone());
        assert!(timers.remove(&(deadline, turn)).is_some(), "it was just inserted");
    }
    begin.elapsed()
}

/// Which part of a run is timed.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Create,
    Drop,
}

/// Makes many sleeps, then drops them, last one first.
#[derive(Clone, Copy)]
struct CreateAndDrop {
    part: Part,
}

/// How long the `index`th timer runs: the order is none.
fn spread(index: u32) -> Duration {
    Duration::from_millis(1_000 + u64::from(index.wrapping_mul(2_654_435_761) % 10_000))
}

impl ReactorWorkload for CreateAndDrop {
    async fn run<R: Reactor>(self, _peer: R, n: u64) -> Duration {
        let mut total = Duration::ZERO;
        for _ in 0..n {
            let mut sleeps = Vec::with_capacity(MANY as usize);
            let begin = Instant::now();
            for index in 0..MANY {
                let mut sleep = Box::pin(R::sleep(spread(index)));
                start(sleep.as_mut()).await;
                sleeps.push(sleep);
                if index % 64 == 63 {
                    yield_once().await;
                }
            }
            let created = Instant::now();
            while let Some(sleep) = sleeps.pop() {
                drop(sleep);
            }
            let dropped = Instant::now();
            total += match self.part {
                Part::Create => created - begin,
                Part::Drop => dropped - created,
            };
        }
        R::sleep(Duration::from_micros(10)).await;
        total
    }
}

fn bare_create_and_drop(part: Part, n: u64) -> Duration {
    let mut total = Duration::ZERO;
    for _ in 0..n {
        let mut timers = BTreeMap::new();
        let mut keys = Vec::with_capacity(MANY as usize);
        let begin = Instant::now();
        for index in 0..MANY {
            let key = (Instant::now() + spread(index), index);
            timers.insert(key, Waker::noop().clone());
            keys.push(key);
        }
        let created = Instant::now();
        while let Some(key) = keys.pop() {
            assert!(timers.remove(&key).is_some(), "it was inserted");
        }
        let dropped = Instant::now();
        total += match part {
            Part::Create => created - begin,
            Part::Drop => dropped - created,
        };
    }
    total
}

/// A lone sleep.
#[derive(Clone, Copy)]
struct Oversleep {
    asked: Duration,
}

impl ReactorWorkload for Oversleep {
    async fn run<R: Reactor>(self, _peer: R, n: u64) -> Duration {
        let mut over = Vec::new();
        for _ in 0..n {
            let begin = Instant::now();
            R::sleep(self.asked).await;
            over.push(oversleep(begin, self.asked));
        }
        median_of(over, n)
    }
}

fn oversleep(begin: Instant, asked: Duration) -> Duration {
    begin.elapsed().checked_sub(asked).expect("a sleep does not end before its time")
}

fn bare_oversleep(asked: Duration, n: u64) -> Duration {
    let mut over = Vec::new();
    for _ in 0..n {
        let begin = Instant::now();
        let ready = ppoll(&mut [], Some(TimeSpec::from_duration(asked)), None);
        assert_eq!(ready, Ok(0), "there is nothing to become ready");
        over.push(oversleep(begin, asked));
    }
    median_of(over, n)
}
