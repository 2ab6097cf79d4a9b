//! Wakes: from task to task, and from another thread.
//!
//! `chan_pp` is a ping-pong of two tasks of one executor, alone and with idle ones beside them.
//! `wake_lat` is the time from another thread's wake to the poll, with the executor asleep, with it looking for
//! events before it sleeps (ours alone can; the peers sleep), and with it busy. `wake_rtt` is the time from the wake
//! until the thread, which sleeps meanwhile, is woken by the task. `wake_busy` is what the wake costs the thread that
//! calls it, while the executor is busy.
//!
//! Against: all peers. Floors: a queue of boxed futures for the ping-pong; an eventfd and epoll for a sleeper, one
//! spinning thread for a polling executor, two parked threads for a round trip; a flag that is set already for the
//! cost of a wake.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::boxed::Boxed;
use crate::kit::{Gate, Slot, yield_once};
use crate::machine;
use crate::peers::{Ours, Peer, Polling};
use crate::suite::{Suite, median_of};
use crate::workloads::Workload;

pub(crate) fn add(suite: &mut Suite) {
    suite.row("chan_pp", 1).all(PingPong { idle: 0 }).floor(boxed_ping_pong).measure();
    for (name, idle) in [("chan_pp_idle1k", 1_000), ("chan_pp_idle100k", 100_000)] {
        suite.row(name, 1).all(PingPong { idle }).measure();
    }
    add_latencies(suite);
    for (name, tasks) in [("wake_busy_1", 1), ("wake_busy_1k", 1_000)] {
        suite
            .row(name, 1)
            .peer::<Ours>(BusyWake { tasks })
            .fair_ones(BusyWake { tasks })
            .floor(move |n| flagged_wakes(tasks, n))
            .measure();
    }
}

fn add_latencies(suite: &mut Suite) {
    let asleep = Latency { busy: false, parks: false };
    suite.row("wake_lat", 1).all(asleep).floor(eventfd_latency).measure();
    // Nobody else can look before it sleeps: the peers are as above.
    suite
        .row("wake_lat_polling", 1)
        .peer::<Polling>(asleep)
        .others(asleep)
        .floor(spinning_latency)
        .measure();
    let round_trip = Latency { busy: false, parks: true };
    suite.row("wake_rtt", 1).all(round_trip).floor(parked_round_trips).measure();
    let busy = Latency { busy: true, parks: false };
    suite.row("wake_lat_busy", 1).peer::<Ours>(busy).fair_ones(busy).measure();
}

/// Two tasks hand a number to and fro.
#[derive(Clone, Copy)]
pub(crate) struct PingPong {
    pub(crate) idle: usize,
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

/// Plays `n` rounds.
async fn ask(to: Rc<Slot>, from: Rc<Slot>, n: u64) -> Duration {
    let start = Instant::now();
    for number in 1..=n {
        to.put(number);
        assert_eq!(from.take().await, number + 1, "the answer to this question");
    }
    let elapsed = start.elapsed();
    to.put(0);
    elapsed
}

impl Workload for PingPong {
    async fn run<P: Peer>(self, peer: P, n: u64) -> Duration {
        let gate = Gate::new(self.idle);
        let idle: Vec<_> = (0..self.idle).map(|_| peer.spawn(gate.pass())).collect();
        gate.all_parked().await;
        let (there, back) = (Rc::new(Slot::default()), Rc::new(Slot::default()));
        let answering = peer.spawn(answer(Rc::clone(&there), Rc::clone(&back)));
        let elapsed = peer.spawn(ask(there, back, n)).await;
        answering.await;
        gate.open();
        for task in idle {
            task.await;
        }
        elapsed
    }
}

fn boxed_ping_pong(n: u64) -> Duration {
    let (there, back) = (Rc::new(Slot::default()), Rc::new(Slot::default()));
    let elapsed = Rc::new(Cell::new(None));
    let mut boxed = Boxed::default();
    boxed.spawn(answer(Rc::clone(&there), Rc::clone(&back)));
    let result = Rc::clone(&elapsed);
    boxed.spawn(async move { result.set(Some(ask(there, back, n).await)) });
    boxed.run();
    elapsed.get().expect("all rounds were played")
}

/// What the thread that wakes and the one that is woken share.
struct Calls {
    base: Instant,
    /// The number of the last call, or `END`.
    wanted: AtomicU64,
    /// The last call that was seen, and when, in nanoseconds since `base`.
    seen: AtomicU64,
    seen_at: AtomicU64,
    /// The thread that calls, where it sleeps until it has the answer.
    parked: OnceLock<Thread>,
}

const END: u64 = u64::MAX;

/// Pause between two calls: long enough for the executor to fall asleep, short enough for a polling one not to.
const PAUSE: Duration = Duration::from_micros(30);

impl Calls {
    fn new() -> Arc<Calls> {
        let zero = || AtomicU64::new(0);
        let (base, parked) = (Instant::now(), OnceLock::new());
        Arc::new(Calls { base, wanted: zero(), seen: zero(), seen_at: zero(), parked })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_nanos()).expect("a run is short")
    }

    /// Calls `n` times and returns the median of the latencies, `n` times.
    fn make(&self, n: u64, mut wake: impl FnMut()) -> Duration {
        let mut latencies = Vec::new();
        for call in 1..=n {
            machine::spin(PAUSE);
            // Release: pairs with the Acquire in `see`. The waker orders it, too.
            self.wanted.store(call, Ordering::Release);
            let before = self.now();
            wake();
            // Acquire: pairs with the Release in `see`; the time that was written before is there.
            while self.seen.load(Ordering::Acquire) < call {
                std::hint::spin_loop();
            }
            let seen_at = self.seen_at.load(Ordering::Relaxed);
            latencies.push(Duration::from_nanos(seen_at.saturating_sub(before)));
        }
        // Release: as above.
        self.wanted.store(END, Ordering::Release);
        wake();
        median_of(latencies, n)
    }

    /// As [`make`](Self::make), but sleeps, and takes the time until it is woken.
    fn make_parked(&self, n: u64, mut wake: impl FnMut()) -> Duration {
        self.parked.set(thread::current()).expect("one thread calls");
        let mut times = Vec::new();
        for call in 1..=n {
            machine::spin(PAUSE);
            let start = Instant::now();
            // Release, Acquire: as in `make`.
            self.wanted.store(call, Ordering::Release);
            wake();
            while self.seen.load(Ordering::Acquire) < call {
                thread::park();
            }
            times.push(start.elapsed());
        }
        // Release: as above.
        self.wanted.store(END, Ordering::Release);
        wake();
        median_of(times, n)
    }

    /// Answers a call, if there is one. Returns whether the last one was made.
    fn see(&self) -> bool {
        // Acquire: pairs with the Release in `make`.
        let wanted = self.wanted.load(Ordering::Acquire);
        if wanted != END && wanted > self.seen.load(Ordering::Relaxed) {
            self.seen_at.store(self.now(), Ordering::Relaxed);
            // Release: pairs with the Acquire in `make`.
            self.seen.store(wanted, Ordering::Release);
            if let Some(thread) = self.parked.get() {
                thread.unpark();
            }
        }
        wanted == END
    }
}

/// Another thread wakes a task of an executor that sleeps, or is busy with another task.
#[derive(Clone, Copy)]
struct Latency {
    busy: bool,
    /// Whether the thread sleeps, too.
    parks: bool,
}

impl Latency {
    fn call(self, calls: &Calls, n: u64, waker: &Waker) -> Duration {
        let wake = || waker.wake_by_ref();
        if self.parks { calls.make_parked(n, wake) } else { calls.make(n, wake) }
    }
}

impl Workload for Latency {
    async fn run<P: Peer>(self, peer: P, n: u64) -> Duration {
        let calls = Calls::new();
        let done = Rc::new(Cell::new(false));
        let (seeing, stop) = (Arc::clone(&calls), Rc::clone(&done));
        let mut thread = None;
        let called = peer.spawn(poll_fn(move |cx| {
            let (calls, waker) = (&seeing, cx.waker());
            if thread.is_none() {
                let (calls, waker) = (Arc::clone(calls), waker.clone());
                thread = Some(machine::helper(move || self.call(&calls, n, &waker)));
            }
            if !calls.see() {
                return Poll::Pending;
            }
            stop.set(true);
            Poll::Ready(thread.take())
        }));
        while self.busy && !done.get() {
            machine::spin(WORK);
            yield_once().await;
        }
        let thread = called.await.expect("the first poll started it");
        thread.join().expect("it does not panic")
    }
}

/// What a busy task does between two yields.
const WORK: Duration = Duration::from_nanos(300);

fn eventfd_latency(n: u64) -> Duration {
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    let fd = Arc::new(EventFd::from_flags(flags).expect("there are fds left"));
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("there are fds left");
    let readable = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0);
    epoll.add(&*fd, readable).expect("an eventfd can be watched");
    let calls = Calls::new();
    let (calling, ringing) = (Arc::clone(&calls), Arc::clone(&fd));
    let thread = machine::helper(move || {
        calling.make(n, || {
            ringing.write(1).expect("the counter is not full");
        })
    });
    let mut events = [EpollEvent::empty()];
    loop {
        epoll.wait(&mut events, EpollTimeout::NONE).expect("the epoll is there");
        fd.read().expect("the epoll said so");
        if calls.see() {
            return thread.join().expect("it does not panic");
        }
    }
}

fn spinning_latency(n: u64) -> Duration {
    let calls = Calls::new();
    let calling = Arc::clone(&calls);
    let thread = machine::helper(move || calling.make(n, || {}));
    while !calls.see() {
        std::hint::spin_loop();
    }
    thread.join().expect("it does not panic")
}

fn parked_round_trips(n: u64) -> Duration {
    let calls = Calls::new();
    let (calling, here) = (Arc::clone(&calls), thread::current());
    let caller = machine::helper(move || calling.make_parked(n, || here.unpark()));
    while !calls.see() {
        thread::park();
    }
    caller.join().expect("it does not panic")
}

/// Another thread wakes the tasks of a busy executor in turn, without a pause.
#[derive(Clone, Copy)]
struct BusyWake {
    tasks: usize,
}

/// Wakes `n` times.
fn wake_in_turn(wakers: &[Waker], n: u64) -> Duration {
    let start = Instant::now();
    let mut turn = wakers.iter().cycle();
    for _ in 0..n {
        turn.next().expect("there are wakers").wake_by_ref();
    }
    start.elapsed()
}

impl Workload for BusyWake {
    async fn run<P: Peer>(self, peer: P, n: u64) -> Duration {
        let polled = Rc::new(RefCell::new(vec![false; self.tasks]));
        let wakers = Rc::new(RefCell::new(Vec::new()));
        let stop = Rc::new(Cell::new(false));
        let task = |index: usize| {
            let (polled, wakers) = (Rc::clone(&polled), Rc::clone(&wakers));
            let (stop, mut first) = (Rc::clone(&stop), true);
            peer.spawn(poll_fn(move |cx| {
                if std::mem::take(&mut first) {
                    wakers.borrow_mut().push(cx.waker().clone());
                } else {
                    polled.borrow_mut()[index] = true;
                }
                if stop.get() { Poll::Ready(()) } else { Poll::Pending }
            }))
        };
        let joins: Vec<_> = (0..self.tasks).map(task).collect();
        while wakers.borrow().len() < self.tasks {
            yield_once().await;
        }
        let elapsed = wake_while_busy(wakers.take(), n, &stop).await;
        for join in joins {
            join.await;
        }
        let expected = usize::try_from(n).map_or(self.tasks, |n| n.min(self.tasks));
        let polled = polled.borrow();
        assert!(polled.iter().filter(|polled| **polled).count() >= expected, "wakes lead to polls");
        elapsed
    }
}

/// Works and yields while a thread wakes, then wakes all tasks to their end.
async fn wake_while_busy(wakers: Vec<Waker>, n: u64, stop: &Cell<bool>) -> Duration {
    let done = Arc::new(AtomicBool::new(false));
    let finish = Arc::clone(&done);
    let thread = machine::helper(move || {
        let elapsed = wake_in_turn(&wakers, n);
        // Release: pairs with the Acquire below.
        finish.store(true, Ordering::Release);
        (elapsed, wakers)
    });
    // Acquire: pairs with the Release above.
    while !done.load(Ordering::Acquire) {
        machine::spin(WORK);
        yield_once().await;
    }
    let (elapsed, wakers) = thread.join().expect("it does not panic");
    stop.set(true);
    wakers.into_iter().for_each(Waker::wake);
    elapsed
}

/// Looks at flags in turn, and sets those that the other thread has cleared.
fn flagged_wakes(tasks: usize, n: u64) -> Duration {
    let flags: Arc<Vec<AtomicBool>> = Arc::new((0..tasks).map(|_| AtomicBool::new(true)).collect());
    let setting = Arc::clone(&flags);
    let thread = machine::helper(move || {
        let start = Instant::now();
        let mut turn = setting.iter().cycle();
        for _ in 0..n {
            let flag = turn.next().expect("there are flags");
            // Acquire, Release: pair with the swap of the other thread, as a waker's would.
            if !flag.load(Ordering::Acquire) {
                flag.store(true, Ordering::Release);
            }
        }
        start.elapsed()
    });
    let mut turn = flags.iter().cycle();
    while !thread.is_finished() {
        machine::spin(WORK);
        // AcqRel: pairs with the load and the store of the other thread.
        turn.next().expect("there are flags").swap(false, Ordering::AcqRel);
    }
    thread.join().expect("it does not panic")
}
