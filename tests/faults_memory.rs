//! No memory left: what ends the process, with which words, and what goes on without memory.
//!
//! Rust's allocations do not fail one by one; a program that runs out of memory ends. So nothing can be torn. What
//! is promised is that the end is clean, an abort with one sentence, at whatever allocation it happens; and that
//! waking, polling, completing and dropping tasks need no memory at all, so that a program that is short of it still
//! gets to where it can let go of some.

#[path = "common/process.rs"]
mod process;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::process::{Command, Output};
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::task::{Poll, Waker};
use std::thread;

use executor::{
    IoCx, IoThread, JoinHandle, LocalExecutor, MainCx, block_on, reschedule_to, run_main,
};
use process::in_own_process;

/// Fails when it is told to.
struct Allocator;

/// How many allocations still succeed; negative: all.
static LEFT: AtomicI64 = AtomicI64::new(-1);

/// Whether an allocation is to fail. One does, and then all succeed: the words of the end need some.
fn is_due() -> bool {
    let next = |left: i64| (left >= 0).then(|| left - 1);
    LEFT.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next) == Ok(0)
}

/// Set while every allocation fails.
static NONE_LEFT: AtomicBool = AtomicBool::new(false);

// SAFETY: everything is the system allocator's, but for what fails.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if NONE_LEFT.load(Ordering::SeqCst) || is_due() {
            return ptr::null_mut();
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

const PLACE: &str = "FAULTS_MEMORY_PLACE";

/// Runs `f`; in it, the allocation in the place that the environment names fails.
fn short_of_memory<R>(f: impl FnOnce() -> R) -> R {
    let place = std::env::var(PLACE).expect("it is set").parse().expect("it is a number");
    LEFT.store(place, Ordering::SeqCst);
    let result = f();
    LEFT.store(-1, Ordering::SeqCst);
    result
}

fn run_again(test: &str, place: usize) -> Output {
    let program = std::env::current_exe().expect("a test has an executable");
    Command::new(program)
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(PLACE, place.to_string())
        .output()
        .expect("a test can start itself")
}

/// Runs the test again and again, each time without memory in another place, until there was enough.
fn ends_cleanly_at_each_allocation(test: &str, least: usize, scenario: impl FnOnce()) {
    use std::os::unix::process::ExitStatusExt;

    if std::env::var_os(PLACE).is_some() {
        let _works_as_well = nix::sys::prctl::set_dumpable(false);
        return scenario();
    }
    for place in 0.. {
        let output = run_again(test, place);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            assert!(place >= least, "only {place} allocations were there to fail");
            return;
        }
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "allocation {place}: {said}");
        let sentence = said.contains("memory allocation of ") && said.contains(" bytes failed");
        assert!(sentence, "allocation {place}: {said}");
        assert!(!said.contains("panicked"), "allocation {place}: {said}");
    }
}

#[test]
fn a_spawn_without_memory_ends_the_process_with_one_sentence_at_whatever_allocation() {
    let name = "a_spawn_without_memory_ends_the_process_with_one_sentence_at_whatever_allocation";
    // The cells, and places in the table, which grows by more than one.
    ends_cleanly_at_each_allocation(name, 8, || {
        let executor = LocalExecutor::new().expect("there are fds");
        let spawn = || executor.spawn(async { [7_u8; 2000] });
        let mut tasks: Vec<_> = (0..60).map(|_| spawn()).collect();
        tasks.reserve(8);
        short_of_memory(|| tasks.extend((0..8).map(|_| spawn())));
        for task in tasks {
            assert_eq!(executor.run(task).expect("nothing panics"), [7; 2000]);
        }
    });
}

#[test]
fn a_reschedule_to_without_memory_ends_the_process_with_one_sentence_at_whatever_allocation() {
    let name =
        "a_reschedule_to_without_memory_ends_the_process_with_one_sentence_at_whatever_allocation";
    // What both sides share, the job, and in the iothread the task.
    ends_cleanly_at_each_allocation(name, 3, || {
        run_main(|nc| {
            let iothread = IoThread::create(nc, "io0").expect("there are threads");
            let io = iothread.io();
            let first = io.run(async |_: &IoCx| 1);
            assert_eq!(block_on(nc, async |_: &MainCx| first.await).expect("it is well"), 1);
            let bytes = short_of_memory(|| {
                let remote = reschedule_to(&io, async { [7_u8; 2000] });
                block_on(nc, async |_: &MainCx| remote.await)
            });
            assert_eq!(bytes.expect("nothing panics"), [7; 2000]);
            iothread.destroy(nc).expect("it was not destroyed before");
        });
    });
}

/// A task that waits to be woken so many times; counts its polls.
fn spawn_waiting(
    executor: &LocalExecutor,
    wakers: &Rc<RefCell<Vec<Waker>>>,
    polls: &Rc<Cell<usize>>,
) -> JoinHandle<usize> {
    let (wakers, polls) = (Rc::clone(wakers), Rc::clone(polls));
    let mut left = 2;
    executor.spawn(poll_fn(move |cx| {
        polls.set(polls.get() + 1);
        if left == 0 {
            return Poll::Ready(7);
        }
        if left == 2 {
            wakers.borrow_mut().push(cx.waker().clone());
        }
        left -= 1;
        Poll::Pending
    }))
}

/// Sets, and clears when it is dropped, that there is no memory.
struct NoMemory;

impl NoMemory {
    fn begin() -> Self {
        NONE_LEFT.store(true, Ordering::SeqCst);
        Self
    }
}

impl Drop for NoMemory {
    fn drop(&mut self) {
        NONE_LEFT.store(false, Ordering::SeqCst);
    }
}

/// Waits until `polls` is `count`, with nothing but turns of the executor.
async fn until(polls: &Cell<usize>, count: usize) {
    poll_fn(|cx| {
        if polls.get() == count {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[test]
fn tasks_are_woken_from_here_and_elsewhere_polled_aborted_and_dropped_without_memory() {
    let name = "tasks_are_woken_from_here_and_elsewhere_polled_aborted_and_dropped_without_memory";
    in_own_process(name, || {
        const TASKS: usize = 1000;
        let executor = LocalExecutor::new().expect("there are fds");
        let (wakers, polls) = (Rc::default(), Rc::new(Cell::new(0)));
        let mut tasks: Vec<_> =
            (0..TASKS).map(|_| spawn_waiting(&executor, &wakers, &polls)).collect();
        executor.run(until(&polls, TASKS));
        let here = wakers.take();
        let elsewhere = here.clone();
        let (go, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (its_go, its_done) = (Arc::clone(&go), Arc::clone(&done));
        let helper = thread::spawn(move || {
            // It is up, and has all the memory that it needs.
            its_done.store(true, Ordering::SeqCst);
            while !its_go.load(Ordering::SeqCst) {
                std::hint::spin_loop();
            }
            elsewhere.iter().for_each(Waker::wake_by_ref);
            its_done.store(true, Ordering::SeqCst);
            while its_go.load(Ordering::SeqCst) {
                std::hint::spin_loop();
            }
            drop(elsewhere);
        });

        while !done.swap(false, Ordering::SeqCst) {
            std::hint::spin_loop();
        }

        executor.run(async {
            let no_memory = NoMemory::begin();
            here.iter().for_each(Waker::wake_by_ref);
            until(&polls, 2 * TASKS).await;
            tasks[..10].iter().for_each(JoinHandle::abort);
            go.store(true, Ordering::SeqCst);
            while !done.load(Ordering::SeqCst) {
                std::hint::spin_loop();
            }
            until(&polls, 3 * TASKS - 10).await;
            assert!(tasks.iter().all(JoinHandle::is_finished));
            drop(no_memory);
        });
        go.store(false, Ordering::SeqCst);
        helper.join().expect("it does not panic");
        for (number, task) in tasks.drain(..).enumerate() {
            let result = executor.run(task);
            assert_eq!(result.ok(), (number >= 10).then_some(7), "task {number}");
        }
    });
}
