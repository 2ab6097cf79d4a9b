//! One pass of an event loop.
//!
//! A pass works out how long it may sleep, sleeps, answers the doorbell, and then runs bottom
//! halves, file descriptors and timers, in this order, each once. It never loops: `aio_poll` with
//! `blocking` returns after the first wake-up, with or without progress.
//!
//! Threads: the home thread of the context. No lock is held while a callback runs, so a callback may
//! run a nested pass.
//!
//! Relies on `doorbell` for wake-ups. A pass that needs neither to sleep nor to ask the kernel for
//! file descriptors makes no system call.

use std::ptr;

use super::bottom_half;
use super::busy_poll;
use super::context::Context;
use super::current::{self, qemu_get_current_aio_context};
use super::fd::Ready;
use super::main_loop;
use super::simulation;
use crate::types::AioContext;

/// One pass of `aio_poll`; says whether it made progress.
fn poll(context: &Context, blocking: bool) -> bool {
    let mut ready = Ready::default();
    wait(context, if blocking { context.timeout_ns() } else { 0 }, &mut ready);
    run(context, ready)
}

/// Answers the doorbell and runs everything that is due; says whether there was something.
pub(super) fn run(context: &Context, ready: Ready) -> bool {
    simulation::preempt();
    context.doorbell.accept();
    simulation::preempt();
    let bottom_halves = bottom_half::poll(context);
    let descriptors = ready.dispatch();
    simulation::preempt();
    let timers = context.timers.run();
    bottom_halves || descriptors || timers
}

fn wait(context: &Context, timeout_ns: i64, ready: &mut Ready) {
    simulation::preempt();
    match busy_poll::run(context, timeout_ns, ready) {
        (0, _) => look(context, ready),
        (timeout_ns, begin) => {
            sleep(context, timeout_ns, ready);
            busy_poll::adapt(context, begin, ready);
        }
    }
}

/// Asks the kernel, if there is something to ask about. (QEMU does so if it watches descriptors with `io_uring`;
/// with epoll or `poll`, and so in a context that has a `GSource`, it asks nobody in a pass that does not sleep,
/// unless a handler has no `io_poll`.)
fn look(context: &Context, ready: &mut Ready) {
    if context.monitor.asks_awake() {
        // Interrupted or not: whatever is ready now is ready in the next pass too.
        let _ = context.monitor.wait(0, ready);
    }
}

fn sleep(context: &Context, mut timeout_ns: i64, ready: &mut Ready) {
    simulation::preempt();
    context.doorbell.begin_sleep();
    simulation::preempt();
    if context.doorbell.is_rung() {
        look(context, ready);
    } else {
        while let Err(error) = context.monitor.wait(timeout_ns, ready) {
            assert!(
                error.kind() == std::io::ErrorKind::Interrupted,
                "cannot wait for file descriptors: {error}"
            );
            timeout_ns = context.timeout_ns();
        }
    }
    context.doorbell.end_sleep();
}

/// Announces that the main loop is about to sleep, and says how long it may (-1: for ever).
pub(super) fn prepare(context: &Context) -> i64 {
    context.doorbell.begin_main_loop_sleep();
    simulation::preempt();
    context.timeout_ns()
}

/// Runs what is due after the sleep of the main loop.
pub(super) fn dispatch(context: &Context, ready: Ready) {
    context.doorbell.end_main_loop_sleep();
    run(context, ready);
}

/// Runs one pass of an event loop, and sleeps in it if `blocking` and nothing is due.
///
/// Returns true if a bottom half that is not idle, a descriptor's callback or a timer ran. A
/// blocking call may return false: a mere `aio_notify` ends it too.
///
/// # Panics
///
/// Aborts unless the calling thread is the home thread of `ctx`: its current context is `ctx`, or,
/// for the main and the iohandler context, the main context.
///
/// # Safety
///
/// `ctx` is alive.
pub unsafe extern "C" fn aio_poll(ctx: *mut AioContext, blocking: bool) -> bool {
    if !ptr::eq(current::get(), ctx) {
        assert_home_thread(ctx);
    }
    // SAFETY: the caller's promise.
    poll(unsafe { Context::from_raw(ctx) }, blocking)
}

#[cold]
fn assert_home_thread(ctx: *mut AioContext) {
    let home = if main_loop::is_iohandler(ctx) { main_loop::qemu_get_aio_context() } else { ctx };
    assert!(
        ptr::eq(qemu_get_current_aio_context(), home),
        "aio_poll must be called in the home thread of the AioContext"
    );
}
