//! Timers: making and dropping them, and how late they fire.
//!
//! `timer_create_100k` makes sleeps of one to eleven seconds, polled once each, until there are 100 000;
//! `timer_drop_100k` drops them again; `timer_cancel_1` does both with one at a time. The `over` rows
//! are how much later than asked a lone sleep ends. `timer_10k` is ten thousand tasks that sleep for one to twenty
//! milliseconds: the time of the CPU for each, from spawn to end, and how late the latest hundredth is.
//!
//! Against: tokio and monoio, whose timers have a grid of a millisecond, and local-runtime. The floors are a `BTreeMap`
//! of deadlines, and `ppoll` with a timeout and without fds.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use nix::poll::ppoll;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

use crate::kit::yield_once;
use crate::peers::Timers;
use crate::suite::{Suite, median_of};
use crate::workloads::TimerWorkload;

/// Timers at a time.
const MANY: u32 = 100_000;

pub(crate) fn add(suite: &mut Suite) {
    suite.row("timer_cancel_1", 1).timers(CancelOne).floor(bare_cancel).measure();
    for (name, part) in [("timer_create_100k", Part::Create), ("timer_drop_100k", Part::Drop)] {
        suite
            .row(name, MANY)
            .timers(CreateAndDrop { timers: MANY, part })
            .floor(move |n| bare_create_and_drop(part, n))
            .measure();
    }
    for (name, micros) in [("sleep_1ms_over", 1_000), ("sleep_100us_over", 100)] {
        let asked = Duration::from_micros(micros);
        suite
            .row(name, 1)
            .timers(Oversleep { asked })
            .floor(move |n| bare_oversleep(asked, n))
            .measure();
    }
    for (name, ops, part) in [
        ("timer_10k_cpu", SLEEPERS, Sleeping::CpuOfAll),
        ("timer_10k_late", 1, Sleeping::LateOfTheLatest),
    ] {
        suite.row(name, ops).timers(ManySleepers { part }).measure_whole();
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

impl TimerWorkload for CancelOne {
    async fn run<P: Timers>(self, _peer: P, n: u64) -> Duration {
        let begin = Instant::now();
        for turn in 0..n {
            start(pin!(P::sleep(Duration::from_secs(10)))).await;
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
    Both,
}

/// Makes many sleeps, then drops them, last one first.
#[derive(Clone, Copy)]
pub(crate) struct CreateAndDrop {
    timers: u32,
    part: Part,
}

impl CreateAndDrop {
    /// So many timers at a time, made and dropped.
    pub(crate) fn both(timers: u32) -> CreateAndDrop {
        CreateAndDrop { timers, part: Part::Both }
    }
}

/// How long the `index`th timer runs: the order is none.
fn spread(index: u32) -> Duration {
    Duration::from_millis(1_000 + u64::from(index.wrapping_mul(2_654_435_761) % 10_000))
}

impl TimerWorkload for CreateAndDrop {
    async fn run<P: Timers>(self, _peer: P, n: u64) -> Duration {
        let mut total = Duration::ZERO;
        for _ in 0..n {
            let mut sleeps = Vec::with_capacity(self.timers as usize);
            let begin = Instant::now();
            for index in 0..self.timers {
                let mut sleep = Box::pin(P::sleep(spread(index)));
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
                Part::Both => dropped - begin,
            };
        }
        P::sleep(Duration::from_micros(10)).await;
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
            Part::Both => dropped - begin,
        };
    }
    total
}

/// A lone sleep.
#[derive(Clone, Copy)]
struct Oversleep {
    asked: Duration,
}

impl TimerWorkload for Oversleep {
    async fn run<P: Timers>(self, _peer: P, n: u64) -> Duration {
        let mut over = Vec::new();
        for _ in 0..n {
            let begin = Instant::now();
            P::sleep(self.asked).await;
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

/// Tasks that sleep at a time.
const SLEEPERS: u32 = 10_000;

/// Which part of a run is of interest.
#[derive(Clone, Copy, PartialEq)]
enum Sleeping {
    CpuOfAll,
    LateOfTheLatest,
}

/// Tasks that sleep for different times.
#[derive(Clone, Copy)]
struct ManySleepers {
    part: Sleeping,
}

/// What the process has used of the CPU.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID);
    time.expect("the process has a clock").into()
}

impl TimerWorkload for ManySleepers {
    async fn run<P: Timers>(self, peer: P, n: u64) -> Duration {
        let mut total = Duration::ZERO;
        for _ in 0..n {
            let before = cpu_time();
            let task = |index: u32| {
                let asked = Duration::from_micros(1_000 + spread_micros(index));
                let (begin, sleep) = (Instant::now(), P::sleep(asked));
                peer.spawn(async move {
                    sleep.await;
                    oversleep(begin, asked)
                })
            };
            let joins: Vec<_> = (0..SLEEPERS).map(task).collect();
            let mut late = Vec::with_capacity(joins.len());
            for join in joins {
                late.push(join.await);
            }
            let used = cpu_time() - before;
            late.sort_unstable();
            total += match self.part {
                Sleeping::CpuOfAll => used,
                Sleeping::LateOfTheLatest => late[late.len() * 99 / 100],
            };
        }
        total
    }
}

/// Up to 19 ms, in no order.
fn spread_micros(index: u32) -> u64 {
    u64::from(index.wrapping_mul(2_654_435_761) % 19_000)
}
