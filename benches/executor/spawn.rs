//! Running tasks: spawning and joining them, yielding, and what one pass of the loop costs.
//!
//! Against: all peers. The floor is a `VecDeque` of boxed futures with no wakers and no handles; for
//! `loop_pass` it is a bottom half, scheduled and dispatched by `aio_poll` through `aio-sys`, so that the
//! difference is what the executor adds to each pass.
//!
//! What the executor's safety net (caught panics, borrow checks, budget) costs per poll cannot be switched off
//! to be measured. The difference between `yield_1k` and its floor has it in it, and is an upper bound.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::future::poll_fn;
use std::ptr;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use executor::{Context, LocalExecutor};

use crate::boxed::Boxed;
use crate::kit::{Gate, Slot, yield_once};
use crate::peers::Peer;
use crate::suite::Suite;
use crate::table::Column;
use crate::workloads::Workload;

pub(crate) fn add(suite: &mut Suite) {
    for (name, batch) in
        [("spawn_join_1", 1), ("spawn_join_1k", 1_000), ("spawn_join_100k", 100_000)]
    {
        suite
            .row(name, batch)
            .all(SpawnJoin { batch })
            .floor(move |n| spawn_boxed(batch, n))
            .measure();
    }
    suite
        .row("spawn_detach_1k", 1_000)
        .all(SpawnDetached { batch: 1_000 })
        .floor(move |n| spawn_boxed(1_000, n))
        .measure();
    for (name, tasks) in [("yield_1", 1), ("yield_1k", 1_000)] {
        suite
            .row(name, tasks)
            .all(Yield { tasks })
            .floor(move |n| requeue_boxed(tasks, n))
            .measure();
    }
    suite
        .row("loop_pass", 1)
        .column(Column::Ours, pass_with_a_task)
        .floor(pass_with_a_bottom_half)
        .measure();
}

/// Spawns a batch of trivial tasks, then awaits their handles in order.
#[derive(Clone, Copy)]
pub(crate) struct SpawnJoin {
    pub(crate) batch: u32,
}

impl Workload for SpawnJoin {
    async fn run<P: Peer>(self, peer: P, n: u64) -> Duration {
        let count = Rc::new(Cell::new(0));
        let mut joins = Vec::with_capacity(self.batch as usize);
        let (mut start, mut sum) = (Instant::now(), 0);
        // One round more, the first, which fills the allocator's lists and grows the queues.
        for round in 0..=n {
            if round == 1 {
                start = Instant::now();
            }
            for _ in 0..self.batch {
                let count = Rc::clone(&count);
                joins.push(peer.spawn(async move { count.replace(count.get() + 1) }));
            }
            for join in joins.drain(..) {
                sum += join.await;
            }
        }
        let elapsed = start.elapsed();
        let tasks = (n + 1) * u64::from(self.batch);
        assert_eq!(count.get(), tasks, "each task ran once");
        assert_eq!(sum, tasks * (tasks - 1) / 2, "each output arrived");
        elapsed
    }
}

/// Spawns a batch of trivial tasks without handles; the last one to run wakes the spawner.
#[derive(Clone, Copy)]
struct SpawnDetached {
    batch: u32,
}

impl Workload for SpawnDetached {
    async fn run<P: Peer>(self, peer: P, n: u64) -> Duration {
        let (left, done) = (Rc::new(Cell::new(0)), Rc::new(Slot::default()));
        let mut start = Instant::now();
        // One round more, as above.
        for round in 0..=n {
            if round == 1 {
                start = Instant::now();
            }
            left.set(self.batch);
            for _ in 0..self.batch {
                let (left, done) = (Rc::clone(&left), Rc::clone(&done));
                peer.spawn_detached(async move {
                    left.set(left.get() - 1);
                    if left.get() == 0 {
                        done.put(1);
                    }
                });
            }
            done.take().await;
            assert_eq!(left.get(), 0, "each task ran once");
        }
        start.elapsed()
    }
}

fn spawn_boxed(batch: u32, n: u64) -> Duration {
    let count = Rc::new(Cell::new(0));
    let mut boxed = Boxed::default();
    let mut start = Instant::now();
    for round in 0..=n {
        if round == 1 {
            start = Instant::now();
        }
        for _ in 0..batch {
            let count = Rc::clone(&count);
            boxed.spawn(async move { count.set(count.get() + 1) });
        }
        boxed.run();
    }
    let elapsed = start.elapsed();
    assert_eq!(count.get(), (n + 1) * u64::from(batch), "each future ran once");
    elapsed
}

/// Tasks that wake themselves and suspend, in turn.
#[derive(Clone, Copy)]
pub(crate) struct Yield {
    pub(crate) tasks: u32,
}

impl Workload for Yield {
    async fn run<P: Peer>(self, peer: P, n: u64) -> Duration {
        let gate = Gate::new(self.tasks as usize);
        let count = Rc::new(Cell::new(0));
        let task = |_| {
            let (pass, count) = (gate.pass(), Rc::clone(&count));
            peer.spawn(async move {
                pass.await;
                for _ in 0..n {
                    yield_once().await;
                    count.set(count.get() + 1);
                }
            })
        };
        let joins: Vec<_> = (0..self.tasks).map(task).collect();
        gate.all_parked().await;
        let start = Instant::now();
        gate.open();
        for join in joins {
            join.await;
        }
        let elapsed = start.elapsed();
        assert_eq!(count.get(), n * u64::from(self.tasks), "each task yielded n times");
        elapsed
    }
}

fn requeue_boxed(tasks: u32, n: u64) -> Duration {
    let mut boxed = Boxed::default();
    let count = Rc::new(Cell::new(0));
    for _ in 0..tasks {
        let count = Rc::clone(&count);
        boxed.spawn(async move {
            for _ in 0..n {
                yield_once().await;
                count.set(count.get() + 1);
            }
        });
    }
    let start = Instant::now();
    boxed.run();
    let elapsed = start.elapsed();
    assert_eq!(count.get(), n * u64::from(tasks), "each future yielded n times");
    elapsed
}

/// A task is woken from outside the executor, and polled in the next pass of the loop.
fn pass_with_a_task(n: u64) -> Duration {
    let executor = LocalExecutor::new().expect("there are fds left");
    let polls = Rc::new(Cell::new(0));
    let waker = Rc::new(RefCell::new(None::<Waker>));
    let (counted, shared) = (Rc::clone(&polls), Rc::clone(&waker));
    let task = executor.spawn(poll_fn(move |cx| {
        counted.set(counted.get() + 1);
        shared.borrow_mut().get_or_insert_with(|| cx.waker().clone());
        Poll::<()>::Pending
    }));
    executor.run_once();
    let waker = waker.take().expect("the task was polled");
    let context = Context::for_this_thread().expect("the executor made it");
    let start = Instant::now();
    for _ in 0..n {
        waker.wake_by_ref();
        // SAFETY: this is the context's thread, and no callback.
        unsafe { aio_sys::aio_poll(context.as_raw(), false) };
    }
    let elapsed = start.elapsed();
    assert_eq!(polls.get(), n + 1, "the task was polled in each pass");
    drop(task);
    elapsed
}

/// Counts its calls.
///
/// # Safety
///
/// `opaque` is a `Cell<u64>` of this thread's.
unsafe extern "C" fn count_call(opaque: *mut c_void) {
    // SAFETY: the caller's promise.
    let count = unsafe { &*opaque.cast::<Cell<u64>>() };
    count.set(count.get() + 1);
}

/// A bottom half is scheduled, and run in the next pass of the loop.
fn pass_with_a_bottom_half(n: u64) -> Duration {
    let context = Context::for_this_thread().expect("there are fds left");
    let count = Cell::new(0_u64);
    let opaque: *mut c_void = ptr::from_ref(&count).cast_mut().cast();
    let (name, guard) = (c"count_call".as_ptr(), ptr::null_mut());
    // SAFETY: the context is alive, the callback takes a `Cell`, which outlives the bottom half.
    let bottom_half =
        unsafe { aio_sys::aio_bh_new_full(context.as_raw(), count_call, opaque, name, guard) };
    let start = Instant::now();
    for _ in 0..n {
        // SAFETY: the bottom half is there until it is deleted.
        unsafe { aio_sys::qemu_bh_schedule(bottom_half) };
        // SAFETY: this is the context's thread, and no callback.
        unsafe { aio_sys::aio_poll(context.as_raw(), false) };
    }
    let elapsed = start.elapsed();
    assert_eq!(count.get(), n, "the bottom half ran in each pass");
    // SAFETY: it was not deleted before.
    unsafe { aio_sys::qemu_bh_delete(bottom_half) };
    elapsed
}
