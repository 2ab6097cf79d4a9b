//! What two threads do for each other, in turn.
//!
//! While one thread works the other one waits at a channel, so the loops never sleep and never race: the counts are
//! the same each time. The price of a system call that wakes a sleeper is not in them; that is the kernel's.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::mpsc;
use std::task::{Poll, Waker};
use std::thread;

use executor::LocalExecutor;

use crate::local::executor;
use crate::measured::counted;

/// An executor with tasks that never end, and wakers for them.
struct Sleepers {
    executor: LocalExecutor,
    polls: Rc<Cell<u64>>,
    wakers: Vec<Waker>,
}

impl Sleepers {
    fn new(count: u64) -> Sleepers {
        let (executor, polls) = (executor(), Rc::new(Cell::new(0)));
        let wakers = Rc::new(RefCell::new(Vec::new()));
        for _ in 0..count {
            let (polls, wakers, mut known) = (Rc::clone(&polls), Rc::clone(&wakers), false);
            let task = poll_fn(move |cx| {
                polls.set(polls.get() + 1);
                if !std::mem::replace(&mut known, true) {
                    wakers.borrow_mut().push(cx.waker().clone());
                }
                Poll::<()>::Pending
            });
            executor.spawn(task).detach();
        }
        let sleepers = Sleepers { executor, polls, wakers: Vec::new() };
        sleepers.run_until(count);
        Sleepers { wakers: wakers.take(), ..sleepers }
    }

    /// Lets the loop make passes until there were that many polls.
    fn run_until(&self, polls: u64) {
        while self.polls.get() < polls {
            self.executor.run_once();
        }
        assert_eq!(self.polls.get(), polls, "a wake leads to one poll");
    }
}

/// Has another thread do what `make` makes there, then does `here`, `n` times.
fn in_turn<F: FnMut()>(n: u64, make: impl FnOnce() -> F + Send, mut here: impl FnMut()) {
    thread::scope(|scope| {
        let (begin, turns) = mpsc::channel();
        let (end, ends) = mpsc::channel();
        scope.spawn(move || {
            let mut there = make();
            for () in turns {
                there();
                end.send(()).expect("the other thread waits");
            }
        });
        for _ in 0..n {
            begin.send(()).expect("the other thread serves");
            ends.recv().expect("the other thread does not panic");
            here();
        }
    });
}

/// Counts a wake that finds an empty inbox: it rings the doorbell.
pub(crate) fn first_wake(n: u64) {
    let mut sleepers = Sleepers::new(1);
    let waker = sleepers.wakers.remove(0);
    let wake = move || move || counted(&mut || waker.wake_by_ref());
    let mut polls = 1;
    in_turn(n, wake, || {
        polls += 1;
        sleepers.run_until(polls);
    });
}

/// Counts the pass of the loop that such a wake leads to.
pub(crate) fn serve_first(n: u64) {
    let mut sleepers = Sleepers::new(1);
    let waker = sleepers.wakers.remove(0);
    let mut polls = 1;
    in_turn(
        n,
        || || waker.wake_by_ref(),
        || {
            counted(&mut || sleepers.executor.run_once());
            polls += 1;
            assert_eq!(sleepers.polls.get(), polls, "one pass is enough");
        },
    );
}

/// Counts wakes of different tasks, without a pass of the loop in between.
pub(crate) fn more_wakes(n: u64) {
    let mut sleepers = Sleepers::new(n);
    let wakers = std::mem::take(&mut sleepers.wakers);
    in_turn(
        1,
        || || counted(&mut || wakers.iter().for_each(Waker::wake_by_ref)),
        || {
            sleepers.run_until(2 * n);
        },
    );
}

/// Counts the polls that such wakes lead to.
pub(crate) fn serve_more(n: u64) {
    let mut sleepers = Sleepers::new(n);
    let wakers = std::mem::take(&mut sleepers.wakers);
    in_turn(
        1,
        || || wakers.iter().for_each(Waker::wake_by_ref),
        || {
            counted(&mut || sleepers.run_until(2 * n));
        },
    );
}

/// Counts wakes of a task that was woken before, and not polled yet.
pub(crate) fn wake_again(n: u64) {
    let mut sleepers = Sleepers::new(1);
    let waker = sleepers.wakers.remove(0);
    waker.wake_by_ref();
    in_turn(
        1,
        || || counted(&mut || (0..n).for_each(|_| waker.wake_by_ref())),
        || {
            sleepers.run_until(2);
        },
    );
}

/// Counts both sides of calls to another executor, as `reschedule_to` makes them, one at a time.
pub(crate) fn hop(n: u64) {
    let (send, spawner) = mpsc::channel();
    let far = move || {
        let far = executor();
        send.send(far.remote()).expect("the other thread waits");
        move || counted(&mut || far.run_once())
    };
    let near = executor();
    let mut calls = None;
    // One turn more, the first: nothing was sent yet.
    in_turn(n + 1, far, || {
        let spawner = || spawner.recv().expect("the thread sends it");
        calls.get_or_insert_with(|| near.spawn(make_calls(spawner(), n)));
        counted(&mut || near.run_once());
    });
    assert!(calls.is_some_and(|calls| calls.is_finished()), "one pass each way is enough");
}

async fn make_calls(far: executor::RemoteSpawner, n: u64) {
    for x in 0..n {
        let answer = far.spawn(async move { x + 1 }).await;
        assert_eq!(answer.expect("the task does not fail"), x + 1, "the answer to this call");
    }
}
