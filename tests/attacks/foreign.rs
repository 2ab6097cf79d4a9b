//! Attacks with foreign executors, wakers and polls by hand.

use std::cell::RefCell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use executor::net::UnixStream;
use executor::time::sleep;
use executor::{IoCx, JoinHandle, MainCx, NoCoroutine, block_on};
use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::tools::{here, io_thread, panic_of, poll_once, run_for, yield_now};

pub(crate) const CASES: &[crate::Case] = &[
    ("a foreign block_on in a task", a_foreign_block_on),
    ("a handle, polled by hand", a_handle_polled_by_hand),
    ("a task that awaits itself", a_task_awaits_itself),
    ("wakers that panic", wakers_that_panic),
    ("wakers that poll", wakers_that_poll),
    ("a bare thread polls a timer", a_bare_thread_polls_a_timer),
    ("one future in two combinators", one_future_in_two_combinators),
    ("a socket that moves while it is awaited", a_socket_moves),
];

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// What `futures::executor::block_on` and its like do.
fn park_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

/// It blocks the main loop, which is what `clippy.toml` is for; what it waits for is done elsewhere.
fn a_foreign_block_on(nc: &mut NoCoroutine) {
    let (thread, id) = io_thread(nc, "park");
    let io = thread.io();
    let task = nc.spawn(async move |_: &MainCx| park_on(io.run(async |_: &IoCx| here())));
    let seen = block_on(nc, async |_: &MainCx| task.await.unwrap().unwrap());
    assert_eq!(seen, id);
    thread.destroy(nc).unwrap();
}

fn a_handle_polled_by_hand(nc: &mut NoCoroutine) {
    let mut task = nc.spawn(async |_: &MainCx| yield_now().await);
    for _ in 0..10 {
        assert!(poll_once(&mut task).is_pending());
    }
    run_for(nc, 3);
    assert!(poll_once(&mut task).is_ready());
    let message = panic_of(|| poll_once(&mut task));
    assert!(message.contains("polled after"), "{message}");
}

fn a_task_awaits_itself(nc: &mut NoCoroutine) {
    let own: Rc<RefCell<Option<JoinHandle<()>>>> = Rc::default();
    let handle = Rc::clone(&own);
    let kept = Rc::new(());
    let seen = Rc::clone(&kept);
    let task = nc.spawn(async move |_: &MainCx| {
        let _seen = seen;
        let own = handle.borrow_mut().take().unwrap();
        let _never = own.await;
    });
    *own.borrow_mut() = Some(task);
    let probe = block_on(nc, async |cx: &MainCx| cx.probe());
    run_for(nc, 2);
    let waiting = probe.tasks();
    assert_eq!(waiting.len(), 1);
    assert!(probe.cancel(waiting[0].label.id));
    run_for(nc, 3);
    assert_eq!(Rc::strong_count(&kept), 1);
    assert!(probe.tasks().is_empty());
}

struct PanickingWaker(AtomicU32);

impl Wake for PanickingWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
        panic!("a foreign waker panicked");
    }
}

/// Polls with a foreign waker that panics, then lets the future become ready.
fn wakers_that_panic(nc: &mut NoCoroutine) {
    let wakes = Arc::new(PanickingWaker(AtomicU32::new(0)));
    let waker = Waker::from(Arc::clone(&wakes));
    let (thread, _) = io_thread(nc, "waker");
    let task = nc.spawn(async |_: &MainCx| ());
    let remote = thread.io().run(async |_: &IoCx| sleep(Duration::from_millis(1)).await);
    block_on(nc, async |_: &MainCx| {
        let (mut task, mut remote) = (pin!(task), pin!(remote));
        let mut timer = pin!(sleep(Duration::from_millis(1)));
        let foreign = &mut Context::from_waker(&waker);
        assert!(task.as_mut().poll(foreign).is_pending());
        assert!(timer.as_mut().poll(foreign).is_pending());
        let polled = remote.as_mut().poll(foreign).is_pending();
        sleep(Duration::from_millis(5)).await;
        timer.await;
        task.await.unwrap();
        if polled {
            remote.await.unwrap();
        }
    });
    assert!(wakes.0.load(Ordering::SeqCst) >= 2);
    thread.destroy(nc).unwrap();
}

/// A waker that polls the future it was given to, from within the wake.
struct PollingWaker(Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>);

impl Wake for PollingWaker {
    fn wake(self: Arc<Self>) {
        let Ok(mut slot) = self.0.try_lock() else { return };
        if let Some(future) = slot.as_mut() {
            let waker = Waker::from(Arc::clone(&self));
            if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                *slot = None;
            }
        }
    }
}

fn wakers_that_poll(nc: &mut NoCoroutine) {
    let (thread, _) = io_thread(nc, "polling waker");
    let remote = thread.io().run(async |_: &IoCx| sleep(Duration::from_millis(1)).await);
    let waker = Arc::new(PollingWaker(Mutex::new(None)));
    let foreign = Waker::from(Arc::clone(&waker));
    let mut future: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(remote.map(drop));
    if future.as_mut().poll(&mut Context::from_waker(&foreign)).is_pending() {
        *waker.0.lock().unwrap() = Some(future);
        foreign.wake();
    }
    block_on(nc, async |_: &MainCx| {
        while waker.0.lock().unwrap().is_some() {
            sleep(Duration::from_millis(1)).await;
        }
    });
    thread.destroy(nc).unwrap();
}

fn a_bare_thread_polls_a_timer(nc: &mut NoCoroutine) {
    let timer = block_on(nc, async |_: &MainCx| sleep(Duration::from_millis(1)));
    let message = thread::spawn(|| panic_of(|| park_on(timer))).join().unwrap();
    assert!(message.contains("no executor polls on this thread"), "{message}");
}

/// Children of a `FuturesUnordered` that is itself passed to another task half-way.
fn one_future_in_two_combinators(nc: &mut NoCoroutine) {
    let (thread, id) = io_thread(nc, "unordered");
    let io = thread.io();
    let mut children = FuturesUnordered::new();
    for millis in 1..5 {
        children.push(async move {
            sleep(Duration::from_millis(millis)).await;
            here()
        });
    }
    let rest = block_on(nc, async |_: &MainCx| {
        let first = children.next().await.unwrap();
        assert_eq!(first, here());
        io.run(async move |_: &IoCx| children.collect::<Vec<_>>().await).await.unwrap()
    });
    assert!(rest.iter().all(|thread| *thread == id));
    thread.destroy(nc).unwrap();
}

/// An fd stays with the executor that it was registered with; awaiting it elsewhere wakes across threads.
fn a_socket_moves(nc: &mut NoCoroutine) {
    let (thread, _) = io_thread(nc, "socket");
    let io = thread.io();
    let read = block_on(nc, async |_: &MainCx| {
        let (mut near, mut far) = UnixStream::pair().unwrap();
        {
            let mut buffer = [0; 4];
            let reading = pin!(futures_util::AsyncReadExt::read(&mut near, &mut buffer));
            assert!(futures_util::poll!(reading).is_pending());
        }
        let there = io.run(async move |_: &IoCx| {
            let mut buffer = [0; 4];
            futures_util::AsyncReadExt::read(&mut near, &mut buffer).await.unwrap();
            buffer
        });
        futures_util::AsyncWriteExt::write_all(&mut far, b"ping").await.unwrap();
        there.await.unwrap()
    });
    assert_eq!(&read, b"ping");
    thread.destroy(nc).unwrap();
}
