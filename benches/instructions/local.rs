//! What one thread does alone: tasks, wakes, timers, file descriptors.
//!
//! Each function does something `n` times, counts the instructions of that part only, and checks what came out.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use executor::net::{EventFd, UnixStream};
use executor::time::{Sleep, sleep};
use executor::{Budget, Context, LocalExecutor, LocalSpawner};
use futures_util::{AsyncReadExt, AsyncWriteExt};

use crate::kit::{Gate, Slot, yield_once};
use crate::measured::counted;

/// Tasks, or timers, at a time, in the rows that have many.
const BATCH: u64 = 1_000;

/// An executor that no clock has a say in: it does not look for events before it sleeps, and may take its time.
pub(crate) fn executor() -> LocalExecutor {
    let executor = LocalExecutor::new().expect("there are fds left");
    let context = Context::for_this_thread().expect("the executor made it");
    context.set_poll_params(0, 0, 0).expect("the parameters are in range");
    executor.set_budget(Budget { time: Duration::MAX, ..Budget::default() });
    executor
}

/// Counts what a task takes from its first poll to its end.
fn count_task<F>(make: impl FnOnce(LocalSpawner) -> F)
where
    F: Future<Output = ()> + 'static,
{
    let executor = executor();
    let mut task = Some(executor.spawn(make(executor.spawner())));
    counted(&mut || {
        let task = task.take().expect("this is called once");
        executor.run(task).expect("the task does not fail");
    });
}

pub(crate) fn loop_pass(n: u64) {
    let executor = executor();
    counted(&mut || (0..n).for_each(|_| executor.run_once()));
    assert_eq!(executor.stats().polls, 0, "there was nothing to do");
}

pub(crate) fn spawn_join(n: u64) {
    count_task(|spawner| async move {
        for x in 0..n {
            assert_eq!(spawner.spawn(async move { x }).await.expect("it does not fail"), x);
        }
    });
}

pub(crate) fn spawn_join_batch(n: u64) {
    count_task(|spawner| async move {
        let mut joins = Vec::with_capacity(BATCH as usize);
        for _ in 0..n / BATCH {
            joins.extend((0..BATCH).map(|x| spawner.spawn(async move { x })));
            for (join, x) in joins.drain(..).zip(0..) {
                assert_eq!(join.await.expect("it does not fail"), x);
            }
        }
    });
}

pub(crate) fn spawn_detach(n: u64) {
    let done = Rc::new(Cell::new(0));
    let counter = Rc::clone(&done);
    count_task(|spawner| async move {
        for round in 1..=n / BATCH {
            for _ in 0..BATCH {
                let done = Rc::clone(&counter);
                spawner.spawn(async move { done.set(done.get() + 1) }).detach();
            }
            while counter.get() < round * BATCH {
                yield_once().await;
            }
        }
    });
    assert_eq!(done.get(), n, "each task ran once");
}

pub(crate) fn yields(n: u64) {
    count_task(|_| async move {
        for _ in 0..n {
            yield_once().await;
        }
    });
}

/// Answers numbers with their successors until it gets a zero.
async fn answer(from: Rc<Slot>, to: Rc<Slot>) {
    loop {
        match from.take().await {
            0 => return,
            number => to.put(number + 1),
        }
    }
}

pub(crate) fn ping_pong(n: u64) {
    count_task(|spawner| async move {
        let (there, back) = (Rc::new(Slot::default()), Rc::new(Slot::default()));
        let answering = spawner.spawn(answer(Rc::clone(&there), Rc::clone(&back)));
        for number in 1..=n {
            there.put(number);
            assert_eq!(back.take().await, number + 1, "the answer to this question");
        }
        there.put(0);
        answering.await.expect("it does not fail");
    });
}

/// Polls a sleep, which must not be over yet.
async fn start(mut sleep: Pin<&mut Sleep>) {
    let polled = poll_fn(|cx| Poll::Ready(sleep.as_mut().poll(cx))).await;
    assert!(polled.is_pending(), "a long sleep does not end at once");
}

/// So long that not even a slow run sees its end.
const LONG: Duration = Duration::from_secs(3_600);

pub(crate) fn timer(n: u64) {
    count_task(|_| async move {
        for _ in 0..n {
            start(pin!(sleep(LONG))).await;
        }
    });
}

pub(crate) fn timer_batch(n: u64) {
    count_task(|_| async move {
        let mut sleeps = Vec::with_capacity(BATCH as usize);
        for _ in 0..n / BATCH {
            for index in 0..BATCH {
                // The order is none.
                let more = Duration::from_secs(index * 7_919 % BATCH);
                let mut sleep = Box::pin(sleep(LONG + more));
                start(sleep.as_mut()).await;
                sleeps.push(sleep);
            }
            while let Some(sleep) = sleeps.pop() {
                drop(sleep);
            }
        }
    });
}

async fn receive(stream: &mut UnixStream) -> u64 {
    let mut buffer = [0; 64];
    let count = stream.read(&mut buffer).await.expect("the other end is there");
    u64::from_ne_bytes(buffer[..count].try_into().expect("a message is eight bytes"))
}

async fn send(stream: &mut UnixStream, number: u64) {
    stream.write_all(&number.to_ne_bytes()).await.expect("the other end is there");
}

pub(crate) fn sockets(n: u64) {
    count_task(|spawner| async move {
        let (mut one, mut other) = UnixStream::pair().expect("there are fds left");
        let answering = spawner.spawn(async move {
            for _ in 0..n {
                let number = receive(&mut other).await;
                send(&mut other, number + 1).await;
            }
        });
        for number in 0..n {
            send(&mut one, number).await;
            assert_eq!(receive(&mut one).await, number + 1, "the answer to this question");
        }
        answering.await.expect("it does not fail");
    });
}

pub(crate) fn event_fds(n: u64) {
    count_task(|spawner| async move {
        let fd = || Rc::new(EventFd::new().expect("there are fds left"));
        let (there, back) = (fd(), fd());
        let (asked, to) = (Rc::clone(&there), Rc::clone(&back));
        let answering = spawner.spawn(async move {
            for _ in 0..n {
                assert_eq!(asked.wait().await.expect("the fd is there"), 1);
                to.notify().expect("the fd is there");
            }
        });
        for _ in 0..n {
            there.notify().expect("the fd is there");
            assert_eq!(back.wait().await.expect("the fd is there"), 1);
        }
        answering.await.expect("it does not fail");
    });
}

pub(crate) fn drop_idle(n: u64) {
    let executor = executor();
    let gate = Gate::new(usize::try_from(n).expect("it is a small number"));
    for _ in 0..n {
        executor.spawn(gate.pass()).detach();
    }
    executor.run(gate.all_parked());
    counted(&mut || assert!(executor.shutdown().is_empty(), "nothing survives"));
    // The gate and its tasks' wakers are all that is left.
    assert_eq!(Rc::strong_count(&gate), 1, "the futures are gone");
    gate.open();
}
