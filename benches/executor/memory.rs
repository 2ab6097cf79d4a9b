//! Memory: what an idle task takes.
//!
//! Ten thousand tasks with a future of 16 bytes wait at a gate; counted are the bytes and the allocations per
//! task, as the system's allocator sees them: usable size and header. The executors' queues have been grown by a
//! few tasks before. Against: all peers. The floor is the future in a box.
//!
//! The counting allocator is the whole program's. While nothing is counted it looks at one flag in each call, the
//! same for all peers.

use std::alloc::{GlobalAlloc, Layout, System};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use crate::kit::{Gate, Pass};
use crate::peers::{AsyncExecutor, Embassy, LocalRuntime, Monoio, Ours, Peer, Pool, Tokio};
use crate::suite::Suite;
use crate::table::{Column, Figures, Unit};

/// Tasks that are counted.
const TASKS: u32 = 10_000;

/// What glibc's allocator keeps in front of each block.
const HEADER: i64 = 8;

pub(crate) fn add(suite: &mut Suite) {
    if !suite.wants("mem_bytes") && !suite.wants("mem_allocs") {
        return;
    }
    let (mut bytes, mut allocations): (Figures, Figures) = Default::default();
    for column in Column::ALL {
        let used = use_of(column);
        let per_task = |figure: i64| Some(figure as f64 / f64::from(TASKS));
        bytes[column as usize] = per_task(used.bytes);
        allocations[column as usize] = per_task(used.allocations);
    }
    // They do not vary.
    suite.push("mem_bytes", Unit::Bytes, vec![bytes]);
    suite.push("mem_allocs", Unit::Allocations, vec![allocations]);
}

fn use_of(column: Column) -> Use {
    match column {
        Column::Ours => idle_tasks::<Ours>(),
        Column::Tokio => idle_tasks::<Tokio>(),
        Column::AsyncExecutor => idle_tasks::<AsyncExecutor>(),
        Column::Pool => idle_tasks::<Pool>(),
        Column::Embassy => idle_tasks::<Embassy>(),
        Column::Monoio => idle_tasks::<Monoio>(),
        Column::LocalRuntime => idle_tasks::<LocalRuntime>(),
        Column::Floor => boxed_futures(),
    }
}

/// Memory that was taken and not given back.
#[derive(Clone, Copy)]
struct Use {
    bytes: i64,
    allocations: i64,
}

fn idle_tasks<P: Peer>() -> Use {
    let used = P::run(|peer: P| async move {
        park(&peer, 64).await;
        park(&peer, TASKS).await
    });
    assert!(used.bytes >= i64::from(TASKS) * 16, "each task holds a future of 16 bytes");
    used
}

/// Spawns tasks that wait at a gate, counts, and lets them end.
async fn park<P: Peer>(peer: &P, tasks: u32) -> Use {
    let gate = Gate::new(tasks as usize);
    let mut joins = Vec::with_capacity(tasks as usize);
    let counting = Counting::start();
    joins.extend((0..tasks).map(|_| peer.spawn(gate.pass())));
    gate.all_parked().await;
    let used = counting.end();
    gate.open();
    for join in joins {
        join.await;
    }
    used
}

fn boxed_futures() -> Use {
    let gate = Gate::new(0);
    let mut futures: Vec<Pin<Box<dyn Future<Output = ()>>>> = Vec::with_capacity(TASKS as usize);
    assert_eq!(size_of::<Pass>(), 16);
    let counting = Counting::start();
    futures.extend((0..TASKS).map(|_| Box::pin(gate.pass()) as Pin<Box<dyn Future<Output = ()>>>));
    let used = counting.end();
    assert_eq!(used.allocations, i64::from(TASKS), "each box is one allocation");
    used
}

/// The system's allocator, which counts now and then.
struct Counter;

#[global_allocator]
static ALLOCATOR: Counter = Counter;

// Relaxed everywhere below: only one thread allocates while something is counted.
static COUNTS: AtomicBool = AtomicBool::new(false);
static BYTES: AtomicI64 = AtomicI64::new(0);
static ALLOCATIONS: AtomicI64 = AtomicI64::new(0);

/// While it is there, allocations are counted.
struct Counting;

impl Counting {
    fn start() -> Counting {
        BYTES.store(0, Ordering::Relaxed);
        ALLOCATIONS.store(0, Ordering::Relaxed);
        COUNTS.store(true, Ordering::Relaxed);
        Counting
    }

    fn end(self) -> Use {
        COUNTS.store(false, Ordering::Relaxed);
        let bytes = BYTES.load(Ordering::Relaxed);
        Use { bytes, allocations: ALLOCATIONS.load(Ordering::Relaxed) }
    }
}

/// Counts a block in (`sign` 1) or out (-1).
#[inline]
fn count(block: *mut u8, sign: i64) {
    if COUNTS.load(Ordering::Relaxed) && !block.is_null() {
        count_block(block, sign);
    }
}

#[cold]
fn count_block(block: *mut u8, sign: i64) {
    // SAFETY: the callers pass a live block of the system's allocator, which is malloc.
    let usable = unsafe { libc::malloc_usable_size(block.cast()) };
    let size = i64::try_from(usable).expect("memory is finite") + HEADER;
    BYTES.fetch_add(sign * size, Ordering::Relaxed);
    ALLOCATIONS.fetch_add(sign, Ordering::Relaxed);
}

// SAFETY: all methods are the system allocator's, which keeps the contract.
unsafe impl GlobalAlloc for Counter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let block = unsafe { System.alloc(layout) };
        count(block, 1);
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let block = unsafe { System.alloc_zeroed(layout) };
        count(block, 1);
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(block, -1);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(block, -1);
        // SAFETY: the caller's promise.
        let block = unsafe { System.realloc(block, layout, size) };
        count(block, 1);
        block
    }
}
