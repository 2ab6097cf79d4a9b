//! What the tests of the core share: small futures, a main loop for many tests, child processes.

#![allow(dead_code, reason = "every test program uses another part")]

pub(crate) mod chrome;
pub(crate) mod probe;
pub(crate) mod trace;

use std::any::Any;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{Command, Output};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use executor::testing::on_main_thread;
use executor::{JoinHandle, LocalExecutor, NoCoroutine, run_main};

/// The text that a panic was given.
pub(crate) fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).expect("the payload is a text")
}

/// Runs `f`, which must panic, and returns the message.
pub(crate) fn panic_of<R>(f: impl FnOnce() -> R) -> String {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(_) => panic!("it did not panic"),
        Err(payload) => message(&*payload).to_owned(),
    }
}

/// Polls once.
pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// Lets everybody else run who is ready.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A future that gives its own task's waker, at once.
pub(crate) async fn own_waker() -> Waker {
    poll_fn(|cx| Poll::Ready(cx.waker().clone())).await
}

/// A waker that counts.
#[derive(Debug, Default)]
pub(crate) struct CountingWaker {
    wakes: AtomicUsize,
}

impl CountingWaker {
    pub(crate) fn new() -> (Arc<CountingWaker>, Waker) {
        let counting = Arc::new(CountingWaker::default());
        let waker = Waker::from(Arc::clone(&counting));
        (counting, waker)
    }

    pub(crate) fn wakes(&self) -> usize {
        self.wakes.load(Ordering::SeqCst)
    }
}

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wakes.fetch_add(1, Ordering::SeqCst);
    }
}

/// Something that one side sets and the other awaits, across threads, with the waker that was seen last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signal {
    inner: Arc<Mutex<(bool, Option<Waker>)>>,
}

impl Signal {
    pub(crate) fn new() -> Signal {
        Signal::default()
    }

    pub(crate) fn set(&self) {
        let waker = {
            let mut inner = self.inner.lock().unwrap();
            inner.0 = true;
            inner.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) async fn wait(&self) {
        poll_fn(|cx| {
            let waker = cx.waker().clone();
            let mut inner = self.inner.lock().unwrap();
            if inner.0 {
                return Poll::Ready(());
            }
            let replaced = inner.1.replace(waker);
            drop(inner);
            drop(replaced);
            Poll::Pending
        })
        .await;
    }
}

/// Calls a function when it is dropped.
pub(crate) struct OnDrop<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A task that gives its waker away and then waits to be woken; its output is how often it was polled.
pub(crate) fn waiting_task(executor: &LocalExecutor) -> (JoinHandle<usize>, Waker) {
    let stored = Rc::new(RefCell::new(None));
    let (store, mut polls) = (Rc::clone(&stored), 0);
    let handle = executor.spawn(poll_fn(move |cx| {
        polls += 1;
        if polls > 1 {
            return Poll::Ready(polls);
        }
        *store.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }));
    executor.run_once();
    let waker = stored.take().expect("it was polled");
    (handle, waker)
}

/// Runs a program on the main loop, in the one thread that is the main loop of this process. The programs of
/// several tests run one after the other; a panic is the caller's.
pub(crate) fn on_main<R: Send + 'static>(
    program: impl for<'n> FnOnce(&'n mut NoCoroutine) -> R + Send + 'static,
) -> R {
    in_main_thread(|| run_main(program))
}

/// Runs `f` in the main loop's thread, before any program.
pub(crate) fn in_main_thread<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> R {
    let outcome = on_main_thread(move || catch_unwind(AssertUnwindSafe(f)));
    outcome.unwrap_or_else(|payload| resume_unwind(payload))
}

const CHILD: &str = "EXECUTOR_TEST_CHILD";

/// Whether this process is the one that [`in_child`] started.
pub(crate) fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Runs the test of that name again in a process of its own, where [`is_child`] says yes.
pub(crate) fn in_child(test: &str) -> Output {
    assert!(!is_child(), "the child came to the end of its part");
    Command::new(std::env::current_exe().expect("the test is a program"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("the test can be run again")
}

/// Runs the test in a child, which must abort, and returns what it said on stderr.
pub(crate) fn abort_of(test: &str) -> String {
    use std::os::unix::process::ExitStatusExt;
    let output = in_child(test);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{:?}: {said}", output.status);
    said
}
