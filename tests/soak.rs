//! Everything at once, for as long as `SOAK_SECONDS` says, and nothing left of it. Without that, a little, once.
//!
//! `.ci/run soak` gives it a minute. In each round ten thousand clients come and go, two hundred are slow, and one
//! sends a hundred thousand commands and does not read before the server takes no more; meanwhile somebody who is
//! well is answered, tasks are spawned and cancelled by the thousand, and a pool of threads reads files. Memory,
//! allocated blocks and fds are compared between the rounds; at the end the process is idle.
//!
//! A line per round: memory, blocks more than at the beginning, fds, and the longest wait for an answer. Alone in its
//! process, which it measures.

#[path = "common/qmp_test_commands.rs"]
mod commands;
#[path = "common/qmp_server.rs"]
mod common;
#[path = "common/floods.rs"]
mod floods;
#[path = "common/usage.rs"]
mod usage;

use std::alloc::{GlobalAlloc, Layout, System};
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use commands::add_quick_commands;
use common::{TestServer, command_tasks, open_fds, wait_until};
use executor::blocking::blocking;
use executor::time::sleep;
use executor::{JoinHandle, LocalExecutor};
use floods::{Pipeline, come_and_go, slow_clients, wait_until_idle};
use serde_json::json;
use usage::{DoneOnDrop, resident_kib};

/// What memory may grow by from the second round to the last: what the allocator cannot give back.
const KIB: usize = 2048;
/// How many more blocks may be allocated then. Executors keep the cells of tasks for tasks to come, as many as there
/// were at a time, which differs from round to round. A block for each hundredth client would be more in 20 rounds.
const BLOCKS: isize = 2000;

/// Counts the blocks that are allocated.
struct Counting;

static BLOCKS_NOW: AtomicIsize = AtomicIsize::new(0);

// SAFETY: everything is the system allocator's; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BLOCKS_NOW.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        BLOCKS_NOW.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Has the allocator keep little for later: one arena instead of one per thread, and nothing of large blocks.
fn keep_little() {
    for (parameter, value) in [(libc::M_ARENA_MAX, 1), (libc::M_MMAP_THRESHOLD, 1 << 17)] {
        // SAFETY: it changes how the allocator works, not what it promises.
        unsafe { libc::mallopt(parameter, value) };
    }
}

/// What the process has in memory, without what the allocator keeps nevertheless.
fn in_use_kib() -> usize {
    // SAFETY: it touches only memory that nobody uses.
    unsafe { libc::malloc_trim(0) };
    resident_kib()
}

/// A client that is well, until it is told to end. Returns the longest that it waited for an answer.
fn be_well(server: &TestServer, done: &AtomicBool) -> Duration {
    let (mut client, mut longest) = (server.client(), Duration::ZERO);
    while !done.load(Ordering::Relaxed) {
        let start = Instant::now();
        let echo = client.ask("{'execute': 'x-echo', 'arguments': {'text': 'a'}}");
        assert_eq!(echo, json!({"return": "a"}));
        longest = longest.max(start.elapsed());
    }
    longest
}

/// Tasks that sleep, end, are cancelled and wait for other threads, on a loop of this thread's own.
fn spawn_and_cancel(done: &AtomicBool) {
    let executor = LocalExecutor::new().expect("there are fds");
    while !done.load(Ordering::Relaxed) {
        let waiting: Vec<_> = (0..1000).map(|_| executor.spawn(pending::<()>())).collect();
        let sleeping: Vec<_> = (0..1000)
            .map(|number| executor.spawn(sleep(Duration::from_micros(number % 1000))))
            .collect();
        let read = executor.run(blocking(|| std::fs::read("/proc/self/stat")));
        assert!(read.expect("there are threads").is_ok());
        waiting.iter().for_each(JoinHandle::abort);
        executor.run(async {
            for task in sleeping {
                task.await.expect("nobody cancels it");
            }
            for task in waiting {
                assert!(task.await.is_err_and(|error| error.is_cancelled()));
            }
        });
    }
}

/// How many there are of each kind in a round.
struct Load {
    clients: usize,
    slow: usize,
    commands: usize,
}

/// What it is about.
const FULL: Load = Load { clients: 10_000, slow: 200, commands: 100_000 };
/// What shows that the rest of this file works.
const SMALL: Load = Load { clients: 500, slow: 20, commands: 5000 };

/// One round; returns how long the client that is well had to wait at most.
fn round(server: &TestServer, load: &Load) -> Duration {
    let done = AtomicBool::new(false);
    let longest = thread::scope(|scope| {
        let well = scope.spawn(|| be_well(server, &done));
        scope.spawn(|| spawn_and_cancel(&done));
        let ending = DoneOnDrop(&done);
        let slow = scope.spawn(|| slow_clients(server, load.slow));
        let deaf = scope.spawn(|| {
            let pipeline = Pipeline::stuff(server, load.commands);
            assert!(pipeline.is_stuck() || load.commands < FULL.commands, "it takes it all");
            pipeline.read_all();
        });
        come_and_go(server, load.clients);
        slow.join().expect("each slow client has its answer");
        deaf.join().expect("each command has its reply");
        drop(ending);
        well.join().expect("it is answered")
    });
    wait_until("everybody is gone", || server.clients() == 0);
    wait_until("no command runs", || command_tasks() == 0);
    longest
}

#[test]
fn a_server_under_every_load_at_once_keeps_its_memory_and_its_fds_and_is_idle_afterwards() {
    let seconds = std::env::var("SOAK_SECONDS").ok().map(|text| text.parse().expect("a number"));
    let load = if seconds.is_some() { &FULL } else { &SMALL };
    let end = Duration::from_secs(seconds.unwrap_or(0));
    keep_little();
    let server = TestServer::start(add_quick_commands);
    drop(server.client());
    wait_until("everybody is gone", || server.clients() == 0);
    let fds = open_fds();
    // What is made once is made now.
    round(&server, load);
    let (blocks, memory) = (BLOCKS_NOW.load(Ordering::Relaxed), in_use_kib());
    let start = Instant::now();
    let mut rounds = 0;
    while rounds == 0 || start.elapsed() < end {
        let longest = round(&server, load);
        // Threads that have ended may still be closing theirs.
        wait_until("no fd is left", || open_fds() == fds);
        rounds += 1;
        let (now, at) = (in_use_kib(), start.elapsed().as_secs());
        let more = BLOCKS_NOW.load(Ordering::Relaxed) - blocks;
        println!("{at:4} s, round {rounds}: {now} KiB, {more:+} blocks, {fds} fds, {longest:?}");
        assert!(more < BLOCKS, "{more} blocks are left after {rounds} rounds");
    }
    wait_until_idle();
    let grown = in_use_kib().saturating_sub(memory);
    println!("{rounds} rounds, {grown} KiB more than before");
    assert!(grown < KIB, "{grown} KiB more after {rounds} rounds");
}
