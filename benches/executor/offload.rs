//! Work on another thread: sending it there and awaiting the answer.
//!
//! `offload_rtt` is a call from one private loop to another, one at a time, both asleep in between; `offload_pipe` is
//! the same with 256 calls in flight. The `reschedule` rows are `reschedule_to`, called by a task of the main
//! loop, under the Big QEMU Lock, for an iothread with QEMU's settings: it looks for events for up to 32 us before it
//! sleeps, the main loop sleeps at once. In the `polling` rows a private loop calls another one, or an iothread, and both
//! of ours look before they sleep; the peers cannot.
//!
//! Against: tokio's `Handle::spawn`, async-executor's `Executor::spawn`, and a channel to a `LocalPool`, to monoio and
//! to local-runtime. The floor is an eventfd each way and epoll; in the polling rows, two threads that spin.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use executor::{IoContext, IoThread, MainCx, NoCoroutine, block_on, reschedule_to, run_main};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::machine;
use crate::peers::{
    AsyncExecutor, LocalRuntime, Monoio, Offload, Ours, Peer, Polling, Pool, Tokio,
};
use crate::suite::{RowBench, Suite, median_of};
use crate::table::Column;

/// Calls in flight.
const FLIGHT: u32 = 256;

pub(crate) fn add(suite: &mut Suite) {
    let pattern = Pattern::OneByOne;
    row(suite, "offload_rtt", pattern, calls::<Ours>).floor(eventfd_round_trips).measure();
    row(suite, "offload_rtt_polling", pattern, calls::<Polling>)
        .floor(spinning_round_trips)
        .measure();
    row(suite, "reschedule_rtt", pattern, from_the_main_loop).floor(eventfd_round_trips).measure();
    row(suite, "reschedule_rtt_polling", pattern, from_a_polling_loop)
        .floor(spinning_round_trips)
        .measure();
    let pattern = Pattern::Flight;
    row(suite, "offload_pipe", pattern, calls::<Ours>).measure();
    row(suite, "offload_pipe_polling", pattern, calls::<Polling>).measure();
    row(suite, "reschedule_pipe", pattern, from_the_main_loop).measure();
    row(suite, "reschedule_pipe_polling", pattern, from_a_polling_loop).measure();
}

/// A row of calls, which all peers make, each in its own way, and `ours`.
fn row<'a>(
    suite: &'a mut Suite,
    name: &'static str,
    pattern: Pattern,
    ours: fn(Pattern, u64) -> Duration,
) -> RowBench<'a> {
    suite
        .row(name, if let Pattern::Flight = pattern { FLIGHT } else { 1 })
        .column(Column::Ours, move |n| ours(pattern, n))
        .column(Column::Tokio, move |n| calls::<Tokio>(pattern, n))
        .column(Column::AsyncExecutor, move |n| calls::<AsyncExecutor>(pattern, n))
        .column(Column::Pool, move |n| calls::<Pool>(pattern, n))
        .column(Column::Monoio, move |n| calls::<Monoio>(pattern, n))
        .column(Column::LocalRuntime, move |n| calls::<LocalRuntime>(pattern, n))
}

/// How calls follow each other.
#[derive(Clone, Copy)]
enum Pattern {
    OneByOne,
    Flight,
}

impl Pattern {
    /// Makes calls, `n` of them or `n` flights, and returns the time, without a few first ones.
    async fn play<F>(self, n: u64, mut call: impl FnMut(u64) -> F) -> Duration
    where
        F: Future<Output = u64>,
    {
        for x in 0..8 {
            assert_eq!(call(x).await, x + 1, "the answer to this call");
        }
        match self {
            Pattern::OneByOne => one_by_one(n, call).await,
            Pattern::Flight => flights(n, call).await,
        }
    }
}

async fn one_by_one<F>(n: u64, mut call: impl FnMut(u64) -> F) -> Duration
where
    F: Future<Output = u64>,
{
    let mut times = Vec::new();
    for x in 0..n {
        let start = Instant::now();
        assert_eq!(call(x).await, x + 1, "the answer to this call");
        times.push(start.elapsed());
    }
    median_of(times, n)
}

async fn flights<F>(n: u64, mut call: impl FnMut(u64) -> F) -> Duration
where
    F: Future<Output = u64>,
{
    let mut calls = Vec::with_capacity(FLIGHT as usize);
    let start = Instant::now();
    for _ in 0..n {
        calls.extend((0..u64::from(FLIGHT)).map(&mut call));
        for (call, x) in calls.drain(..).zip(0..) {
            assert_eq!(call.await, x + 1, "the answer to this call");
        }
    }
    start.elapsed()
}

/// From a peer's executor to another one of its kind.
fn calls<P: Offload>(pattern: Pattern, n: u64) -> Duration {
    P::run(move |_| async move {
        let far = P::far();
        pattern.play(n, |x| P::call(&far, x)).await
    })
}

/// Makes `n` calls with `reschedule_to`.
async fn play_remote(io: IoContext, pattern: Pattern, n: u64) -> Duration {
    let pin = reschedule_to(&io, async { machine::pin_helper() });
    pin.await.expect("the task does not fail");
    pattern.play(n, |x| sent(&io, x)).await
}

/// One call of `reschedule_to`, which is sent at once.
fn sent(io: &IoContext, x: u64) -> impl Future<Output = u64> + use<> {
    let answer = reschedule_to(io, async move { x + 1 });
    async { answer.await.expect("the task does not fail") }
}

/// A program for the main loop.
type Program = Box<dyn FnOnce(&mut NoCoroutine) + Send>;

/// Runs a program on the main loop, in the thread that has it: this one has a private loop, and a thread has but one.
fn on_the_main_loop<T: Send + 'static>(
    program: impl FnOnce(&mut NoCoroutine) -> T + Send + 'static,
) -> T {
    static PROGRAMS: OnceLock<mpsc::Sender<Program>> = OnceLock::new();
    let programs = PROGRAMS.get_or_init(|| {
        let (send, programs) = mpsc::channel::<Program>();
        thread::spawn(|| programs.into_iter().for_each(|program| run_main(program)));
        send
    });
    let (send, output) = mpsc::channel();
    let program: Program =
        Box::new(move |nc| send.send(program(nc)).expect("the other thread waits"));
    programs.send(program).expect("the thread serves for ever");
    output.recv().expect("the program does not panic")
}

/// From the main loop to an iothread.
fn from_the_main_loop(pattern: Pattern, n: u64) -> Duration {
    on_the_main_loop(move |nc| {
        let thread = IoThread::create(nc, "bench").expect("the id is free");
        let io = thread.io();
        let elapsed = block_on(nc, async move |cx: &MainCx| {
            let task = cx.spawn(async move |_: &MainCx| play_remote(io, pattern, n).await);
            task.await.expect("the task does not fail")
        });
        thread.destroy(nc).expect("it was not destroyed before");
        elapsed
    })
}

/// From a private loop to an iothread, both polling.
fn from_a_polling_loop(pattern: Pattern, n: u64) -> Duration {
    let thread = on_the_main_loop(|nc| IoThread::create(nc, "bench").expect("the id is free"));
    let io = thread.io();
    io.context().set_poll_params(100_000, 0, 0).expect("the parameters are in range");
    let elapsed = Polling::run(move |_| play_remote(io, pattern, n));
    on_the_main_loop(|nc| thread.destroy(nc).expect("it was not destroyed before"));
    elapsed
}

/// One end of the eventfd floor.
struct End {
    mine: Arc<EventFd>,
    other: Arc<EventFd>,
    epoll: Epoll,
}

impl End {
    fn new(mine: &Arc<EventFd>, other: &Arc<EventFd>) -> End {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("there are fds left");
        let readable = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0);
        epoll.add(&**mine, readable).expect("an eventfd can be watched");
        End { mine: Arc::clone(mine), other: Arc::clone(other), epoll }
    }

    fn ring(&self) {
        self.other.write(1).expect("the counter is not full");
    }

    fn wait(&self) {
        let mut events = [EpollEvent::empty()];
        self.epoll.wait(&mut events, EpollTimeout::NONE).expect("the epoll is there");
        assert_eq!(self.mine.read(), Ok(1), "one ring at a time");
    }
}

fn eventfd_round_trips(n: u64) -> Duration {
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    let fd = || Arc::new(EventFd::from_flags(flags).expect("there are fds left"));
    let (one, two) = (fd(), fd());
    let (near, far) = (End::new(&one, &two), End::new(&two, &one));
    let thread = machine::helper(move || {
        for _ in 0..n {
            far.wait();
            far.ring();
        }
    });
    let mut times = Vec::new();
    for _ in 0..n {
        let start = Instant::now();
        near.ring();
        near.wait();
        times.push(start.elapsed());
    }
    thread.join().expect("it does not panic");
    median_of(times, n)
}

fn spinning_round_trips(n: u64) -> Duration {
    let calls = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
    let answering = Arc::clone(&calls);
    // All loads are Acquire and pair with the Release stores of the same word by the other thread.
    let thread = machine::helper(move || {
        for call in 1..=n {
            while answering.0.load(Ordering::Acquire) < call {
                std::hint::spin_loop();
            }
            answering.1.store(call, Ordering::Release);
        }
    });
    let mut times = Vec::new();
    for call in 1..=n {
        let start = Instant::now();
        calls.0.store(call, Ordering::Release);
        while calls.1.load(Ordering::Acquire) < call {
            std::hint::spin_loop();
        }
        times.push(start.elapsed());
    }
    thread.join().expect("it does not panic");
    median_of(times, n)
}
