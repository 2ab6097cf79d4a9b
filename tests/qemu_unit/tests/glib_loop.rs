//! An executor inside a GLib main loop: GLib sleeps, and the context's source runs the tasks.
//!
//! This is all that a program with a GLib loop has to do: make a context and an executor, attach the context's source
//! to the `GMainContext` of the thread, and run that.

use std::cell::Cell;
use std::io::Write;
use std::os::unix::net;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use executor::async_fd::AsyncFd;
use executor::blocking::blocking;
use executor::time::sleep;
use executor::{Context, LocalExecutor};
use glib_sys::{GMainContext, GTRUE};

/// Attaches a context to the loop of this thread.
fn attach(context: &Context, main: *mut GMainContext) {
    // SAFETY: the context is alive.
    let source = unsafe { aio_sys::emulated::aio_get_g_source(context.as_raw()) };
    // SAFETY: both are alive.
    unsafe { glib_sys::g_source_attach(source, main) };
    // SAFETY: the loop has a reference now.
    unsafe { glib_sys::g_source_unref(source) };
}

#[test]
fn tasks_run_while_glib_turns() {
    let context = Context::for_this_thread().expect("there are fds left");
    let executor = LocalExecutor::attach(&context);
    // SAFETY: always allowed.
    let main = unsafe { glib_sys::g_main_context_new() };
    attach(&context, main);
    let done = Rc::new(Cell::new(0));
    let count = || {
        let done = Rc::clone(&done);
        move || done.set(done.get() + 1)
    };

    // A timer, a wake from a thread that knows no loop, and a descriptor.
    let begun = Instant::now();
    let tell = count();
    let timer = async move {
        sleep(Duration::from_millis(20)).await;
        tell();
    };
    let (tell, thread) = (count(), blocking(|| 7));
    let woken = async move {
        assert_eq!(thread.await.expect("it does not panic"), 7);
        tell();
    };
    let (ours, mut theirs) = net::UnixStream::pair().expect("there are fds left");
    let tell = count();
    let reading = async move {
        let ours = AsyncFd::new(ours).expect("there is memory left");
        ours.readable().await.expect("a socket can be waited for");
        tell();
    };
    executor.spawn(timer).detach();
    executor.spawn(woken).detach();
    executor.spawn(reading).detach();
    let writer = thread::spawn(move || theirs.write_all(b"x"));

    while done.get() < 3 {
        assert!(begun.elapsed() < Duration::from_secs(30), "{} of 3 have ended", done.get());
        // SAFETY: this thread made the loop.
        unsafe { glib_sys::g_main_context_iteration(main, GTRUE) };
    }

    assert!(begun.elapsed() >= Duration::from_millis(20), "the sleep was too short");
    writer.join().expect("it does not panic").expect("a socket can be written");
    assert!(executor.shutdown().is_empty());
    // SAFETY: this is the only reference.
    unsafe { glib_sys::g_main_context_unref(main) };
}
