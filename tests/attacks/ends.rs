//! Attacks with ends: leaks, destructors, thread-locals that are being destroyed, threads that are gone.

#![allow(clippy::mem_forget, reason = "to forget is the attack")]

use std::cell::RefCell;
use std::future::{pending, poll_fn};
use std::mem;
use std::panic::panic_any;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use executor::time::sleep;
use executor::{IoCx, IoThread, LocalExecutor, MainCx, NoCoroutine, block_on, run_main};

use crate::process;
use crate::tools::{OnDrop, io_thread, run_for, yield_now};

pub(crate) const CASES: &[crate::Case] = &[
    ("handles and futures that are forgotten", forgotten),
    ("a payload that panics when it is dropped", an_evil_payload),
    ("an output that panics when it is dropped", an_evil_output),
    ("thread-locals of an iothread that hold tasks", thread_locals_of_an_iothread),
    ("an iothread that lets go of itself", an_iothread_lets_go_of_itself),
    ("work for an iothread that is gone", work_for_a_gone_iothread),
];

fn forgotten(nc: &mut NoCoroutine) {
    mem::forget(nc.spawn(async |_: &MainCx| Rc::new(1)));
    mem::forget(nc.spawn(async |_: &MainCx| pending::<()>().await));
    let (thread, _) = io_thread(nc, "forgotten handles");
    // Larger than what is kept for reuse, so that a leak checker sees it come from here.
    mem::forget(thread.io().run(async |_: &IoCx| {
        let unread = [b'u'; 512];
        yield_now().await;
        String::from_utf8_lossy(&unread).into_owned()
    }));
    block_on(nc, async |cx: &MainCx| {
        let mut timer = Box::pin(sleep(Duration::from_millis(1)));
        assert!(futures_util::poll!(timer.as_mut()).is_pending());
        mem::forget(timer);
        mem::forget(cx.run_in_bh(|_| Rc::new(2)));
        sleep(Duration::from_millis(3)).await;
    });
    thread.destroy(nc).unwrap();
}

/// Panics when it is dropped, and so does what it panics with, a few times over.
struct Evil(u32);

impl Drop for Evil {
    fn drop(&mut self) {
        if self.0 > 0 && !thread::panicking() {
            panic_any(Evil(self.0 - 1));
        }
    }
}

fn an_evil_payload(nc: &mut NoCoroutine) {
    nc.spawn(async |_: &MainCx| panic_any(Evil(3))).detach();
    let handle = nc.spawn(async |_: &MainCx| panic_any(Evil(3)));
    run_for(nc, 2);
    drop(handle);
    nc.main().call(|_| panic_any(Evil(3))).detach();
    let (thread, _) = io_thread(nc, "evil");
    drop(thread.io().run(async |_: &IoCx| panic_any(Evil(3))));
    let cancelled = thread.io().run(async |_: &IoCx| {
        let _evil = Evil(3);
        pending::<()>().await;
    });
    block_on(nc, async |_: &MainCx| {
        yield_now().await;
        assert!(cancelled.cancel().await.is_none());
    });
    thread.destroy(nc).unwrap();
    run_for(nc, 2);
}

fn an_evil_output(nc: &mut NoCoroutine) {
    nc.spawn(async |_: &MainCx| Evil(2)).detach();
    let unread = nc.spawn(async |_: &MainCx| Evil(0));
    run_for(nc, 2);
    drop(unread);
    let task = nc.spawn(async |_: &MainCx| 7);
    assert_eq!(block_on(nc, async |_: &MainCx| task.await.unwrap()), 7);
}

thread_local! {
    static LAST: RefCell<Vec<Box<dyn FnOnce()>>> = const { RefCell::new(Vec::new()) };
    static RUN_AT_END: RunAtEnd = const { RunAtEnd };
}

/// Runs what `LAST` holds when the thread's locals are destroyed.
struct RunAtEnd;

impl Drop for RunAtEnd {
    fn drop(&mut self) {
        let last = LAST.try_with(|last| mem::take(&mut *last.borrow_mut())).unwrap_or_default();
        for f in last {
            f();
        }
    }
}

/// Lets `f` be called while the locals of this thread are being destroyed.
fn at_thread_end(f: impl FnOnce() + 'static) {
    LAST.with_borrow_mut(|last| last.push(Box::new(f)));
    RUN_AT_END.with(|_| ());
}

fn thread_locals_of_an_iothread(nc: &mut NoCoroutine) {
    let (thread, _) = io_thread(nc, "locals");
    let (io, main) = (thread.io(), nc.main());
    let (said, says) = mpsc::channel();
    let remote = io.clone().run(async move |cx: &IoCx| {
        let child = cx.spawn(async |_: &IoCx| pending::<()>().await);
        let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        at_thread_end(move || {
            waker.wake_by_ref();
            child.abort();
            drop(child);
            drop(io.run(async |_: &IoCx| ()));
            let made = LocalExecutor::new().is_ok();
            main.call(move |_| said.send(made).unwrap()).detach();
        });
    });
    block_on(nc, async |_: &MainCx| remote.await.unwrap());
    thread.destroy(nc).unwrap();
    run_for(nc, 3);
    says.recv().expect("the destructor got through");
}

/// The last handle on an iothread is dropped on that iothread: joining itself would be for ever.
fn an_iothread_lets_go_of_itself(nc: &mut NoCoroutine) {
    let (thread, _) = io_thread(nc, "itself");
    let other = thread.clone();
    let (go, gone) = mpsc::channel::<()>();
    let remote = thread.io().run(async move |_: &IoCx| {
        gone.recv().unwrap_err();
        drop(other);
    });
    thread.destroy(nc).unwrap();
    drop(go);
    let _done_or_cancelled = block_on(nc, async |_: &MainCx| remote.await);
    assert!(IoThread::by_id(nc, "itself").is_none());
}

fn work_for_a_gone_iothread(nc: &mut NoCoroutine) {
    let (thread, _) = io_thread(nc, "gone");
    let io = thread.io();
    thread.destroy(nc).unwrap();
    let kept = Arc::new(());
    let seen = Arc::clone(&kept);
    let error =
        block_on(nc, async |_: &MainCx| io.run(async move |_: &IoCx| seen).await.unwrap_err());
    assert!(error.is_cancelled());
    assert_eq!(Arc::strong_count(&kept), 1);
}

/// An executor that its own task owns is never dropped; its wakers work, on any thread, for ever.
#[test]
fn an_executor_that_is_leaked_and_whose_thread_is_gone_is_harmless() {
    let waker: Waker = thread::spawn(|| {
        let executor = Rc::new(LocalExecutor::new().unwrap());
        let (own, cycle) = (Rc::clone(&executor), Rc::new(RefCell::new(None)));
        let keep = Rc::clone(&cycle);
        let never = async move {
            let _own = own;
            poll_fn(|cx| {
                *keep.borrow_mut() = Some(cx.waker().clone());
                Poll::<()>::Pending
            })
            .await;
        };
        executor.spawn(never).detach();
        let task = executor.spawn(yield_now());
        executor.run(async { task.await.unwrap() });
        cycle.take().expect("the task was polled")
    })
    .join()
    .unwrap();
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let waker = waker.clone();
            thread::spawn(move || (0..1000).for_each(|_| waker.wake_by_ref()))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

static DROPS: AtomicU32 = AtomicU32::new(0);

/// The executor is destroyed with the thread's other locals, and its tasks' destructors run then.
#[test]
fn an_executor_in_a_thread_local_drops_its_tasks_at_the_end_of_the_thread() {
    thread_local! {
        static EXECUTOR: RefCell<Option<LocalExecutor>> = const { RefCell::new(None) };
    }
    thread::spawn(|| {
        let executor = LocalExecutor::new().unwrap();
        let spawner = executor.spawner();
        for _ in 0..3 {
            let spawner = spawner.clone();
            executor
                .spawn(async move {
                    let _again = OnDrop::new(move || {
                        DROPS.fetch_add(1, Ordering::SeqCst);
                        spawner.spawn(sleep(Duration::from_secs(1))).detach();
                    });
                    sleep(Duration::from_secs(60)).await;
                })
                .detach();
        }
        executor.run(yield_now());
        EXECUTOR.set(Some(executor));
    })
    .join()
    .unwrap();
    assert_eq!(DROPS.load(Ordering::SeqCst), 3);
}

/// The main loop's own locals may be gone by then: it says so, or works, but is never half there.
#[test]
fn run_main_while_its_thread_ends_is_harmless() {
    process::in_own_process("ends::run_main_while_its_thread_ends_is_harmless", || {
        thread::spawn(|| {
            at_thread_end(|| {
                let again = || run_main(|nc| run_for(nc, 2));
                let _refused = std::panic::catch_unwind(again);
            });
            run_main(|nc| {
                nc.spawn(async |_: &MainCx| pending::<()>().await).detach();
                run_for(nc, 2);
            });
        })
        .join()
        .unwrap();
    });
}
