//! Attacks on tasks that move between threads.

#![allow(clippy::mem_forget, reason = "to forget is the attack")]

use std::cell::Cell;
use std::future::{Future, pending};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use executor::time::{Sleep, sleep};
use executor::{IoCx, LocalExecutor, MainCx, Migratable, NoCoroutine, block_on};
use futures_util::FutureExt;
use futures_util::future::{Either, select};

use crate::tools::{here, io_thread, poll_once, text, yield_now};

pub(crate) const CASES: &[crate::Case] = &[
    ("r4: the leaf, polled on another thread", r4),
    ("r5: a wish that is dropped", r5),
    ("r14: a foreign block_on around the move, with an Rc", r14),
    ("the move inside a poll", mid_poll),
    ("a wish that is forgotten", a_forgotten_wish),
    ("a timer that goes along", a_timer_goes_along),
    ("a timer that outlives its executor", a_timer_outlives_its_executor),
    ("one remote, awaited by two threads", one_remote_two_threads),
    ("a future that is passed from task to task", a_future_is_passed_on),
    ("a task that aborts itself on the way", a_task_ends_on_the_way),
];

/// Runs a migratable task to its end.
fn migrate<F, T>(nc: &mut NoCoroutine, task: F) -> T
where
    F: for<'a> executor::SendTaskFn<&'a mut Migratable, T> + Send + 'static,
    T: Send + 'static,
{
    let remote = nc.spawn_migratable(task);
    block_on(nc, async |_: &MainCx| remote.await.unwrap())
}

/// `&mut Migratable` is `Send`, so the leaf can be polled on a scoped thread: it refuses.
fn r4(nc: &mut NoCoroutine) {
    let (thread, _) = io_thread(nc, "r4");
    let io = thread.io();
    let message = migrate(nc, async move |m: &mut Migratable| {
        let polled = thread::scope(|scope| {
            let poll = || catch_unwind(AssertUnwindSafe(|| poll_once(m.reschedule_to(&io))));
            scope.spawn(poll).join().unwrap()
        });
        text(polled.unwrap_err())
    });
    assert!(message.contains("moves the task that it was lent to"), "{message}");
    thread.destroy(nc).unwrap();
}

fn r5(nc: &mut NoCoroutine) {
    let (thread, _) = io_thread(nc, "r5");
    let (io, me) = (thread.io(), here());
    let seen = migrate(nc, async move |m: &mut Migratable| {
        let moved =
            matches!(select(pin!(m.reschedule_to(&io)), pin!(async {})).await, Either::Left(_));
        assert!(!moved);
        yield_now().await;
        here()
    });
    assert_eq!(seen, me);
    thread.destroy(nc).unwrap();
}

/// Inside a foreign `block_on` the future need not be `Send`. It is never moved: the task does not suspend, so
/// there is no moment between polls. (A real one parks the thread for ever; this one gives up.)
fn r14(nc: &mut NoCoroutine) {
    let (thread, _) = io_thread(nc, "r14");
    let (io, me) = (thread.io(), here());
    let seen = migrate(nc, async move |m: &mut Migratable| {
        {
            let mut inner = pin!(async {
                let shared = Rc::new(1);
                m.reschedule_to(&io).await;
                *shared
            });
            for _ in 0..100 {
                let cx = &mut Context::from_waker(Waker::noop());
                assert!(inner.as_mut().poll(cx).is_pending());
                assert_eq!(here(), me);
            }
        }
        yield_now().await;
        here()
    });
    assert_eq!(seen, me, "the wish ended with the inner future");
    thread.destroy(nc).unwrap();
}

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// A combinator that counts its polls on the stack in a thread-local: safe, `Send`, and broken by an
/// executor that moves a task inside a poll.
struct Counting<F>(F);

impl<F: Future + Unpin> Future for Counting<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        DEPTH.with(|depth| {
            let (before, outside) = (here(), depth.get());
            depth.set(outside + 1);
            let polled = Pin::new(&mut self.0).poll(cx);
            assert_eq!(here(), before, "the stack moved");
            assert_eq!(DEPTH.get(), outside + 1);
            depth.set(outside);
            polled
        })
    }
}

fn mid_poll(nc: &mut NoCoroutine) {
    let (thread, id) = io_thread(nc, "midpoll");
    let (io, me) = (thread.io(), here());
    migrate(nc, async move |m: &mut Migratable| {
        for _ in 0..100 {
            Counting(Box::pin(Counting(Box::pin(async {
                m.reschedule_to(&io).await;
                assert_eq!((here(), DEPTH.get()), (id, 2));
            }))))
            .await;
            Counting(Box::pin(m.to_main())).await;
            assert_eq!((here(), DEPTH.get()), (me, 0));
        }
    });
    thread.destroy(nc).unwrap();
}

/// `mem::forget` skips the destructor that would revoke the wish: the task moves when it suspends, which it
/// could do anyway, and proofs of where it is do not live that long.
fn a_forgotten_wish(nc: &mut NoCoroutine) {
    let (thread, id) = io_thread(nc, "forgotten");
    let (io, me) = (thread.io(), here());
    let seen = migrate(nc, async move |m: &mut Migratable| {
        let mut wish = Box::pin(m.reschedule_to(&io));
        assert!(wish.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        mem::forget(wish);
        m.to_main().await.bql(|_| assert_eq!(here(), me));
        yield_now().await;
        let moved_to = here();
        m.on_main(move |_| assert_eq!(here(), me)).await;
        moved_to
    });
    assert_eq!(seen, id);
    thread.destroy(nc).unwrap();
}

fn a_timer_goes_along(nc: &mut NoCoroutine) {
    let (thread, id) = io_thread(nc, "timer");
    let io = thread.io();
    let seen = migrate(nc, async move |m: &mut Migratable| {
        let mut timer = Box::pin(sleep(Duration::from_millis(5)));
        assert!(timer.as_mut().now_or_never().is_none());
        m.reschedule_to(&io).await;
        timer.await;
        let woken_at = here();
        let mut again = Box::pin(sleep(Duration::from_millis(5)));
        assert!(again.as_mut().now_or_never().is_none());
        m.to_main().await;
        again.await;
        woken_at
    });
    assert_eq!(seen, id);
    thread.destroy(nc).unwrap();
}

fn a_timer_outlives_its_executor(nc: &mut NoCoroutine) {
    let timer: Pin<Box<Sleep>> = thread::spawn(|| {
        let executor = LocalExecutor::new().unwrap();
        let mut timer = Box::pin(sleep(Duration::from_millis(1)));
        executor.run(async { assert!(timer.as_mut().now_or_never().is_none()) });
        timer
    })
    .join()
    .unwrap();
    block_on(nc, async |_: &MainCx| timer.await);
}

fn one_remote_two_threads(nc: &mut NoCoroutine) {
    let (thread, _) = io_thread(nc, "shared");
    let io = thread.io();
    let shared = io.run(async |_: &IoCx| 5).map(Result::unwrap).shared();
    let other = shared.clone();
    let both = block_on(nc, async |_: &MainCx| {
        let there = io.run(async |_: &IoCx| other.await);
        (shared.await, there.await.unwrap())
    });
    assert_eq!(both, (5, 5));
    thread.destroy(nc).unwrap();
}

/// A future may be polled by one task and then by another, on another thread: the last waker counts.
fn a_future_is_passed_on(nc: &mut NoCoroutine) {
    let (thread, id) = io_thread(nc, "passed");
    let io = thread.io();
    let (send, receive) = mpsc::channel::<Pin<Box<dyn Future<Output = ()> + Send>>>();
    let first = nc.spawn(async move |_: &MainCx| {
        let mut timer: Pin<Box<dyn Future<Output = ()> + Send>> =
            Box::pin(sleep(Duration::from_millis(20)));
        assert!(futures_util::poll!(timer.as_mut()).is_pending());
        send.send(timer).unwrap();
        pending::<()>().await;
    });
    let seen = block_on(nc, async |_: &MainCx| {
        yield_now().await;
        yield_now().await;
        let timer = receive.recv().unwrap();
        let second = io.run(async move |_: &IoCx| {
            timer.await;
            here()
        });
        drop(first);
        second.await.unwrap()
    });
    assert_eq!(seen, id);
    thread.destroy(nc).unwrap();
}

/// The handle is dropped while the task travels: the future ends on whichever thread it is, once.
fn a_task_ends_on_the_way(nc: &mut NoCoroutine) {
    let (thread, _) = io_thread(nc, "on the way");
    for delay in 0..50 {
        let io = thread.io();
        let (ended, end) = mpsc::channel();
        let remote = nc.spawn_migratable(async move |m: &mut Migratable| {
            let _ended = crate::tools::OnDrop::new(move || ended.send(()).unwrap());
            loop {
                m.reschedule_to(&io).await;
                m.to_main().await;
            }
        });
        crate::tools::run_for(nc, delay);
        drop(remote);
        block_on(nc, async |_: &MainCx| {
            while end.try_recv() == Err(mpsc::TryRecvError::Empty) {
                yield_now().await;
            }
        });
        assert!(end.try_recv().is_err(), "it ended once");
    }
    thread.destroy(nc).unwrap();
}
